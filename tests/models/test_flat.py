import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.models import FlatModel, build


def concatenated(state: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.reshape(-1) for value in state.values()])


@pytest.fixture
def model() -> FlatModel:
    return FlatModel(build("cnn", (1, 16, 16), 10, seed=0))


def test_layout_is_registration_order(model: FlatModel) -> None:
    state = model.module.state_dict()
    assert model.names == tuple(state)
    assert model.layout.sizes == tuple(value.numel() for value in state.values())
    assert torch.equal(model.vector, concatenated(state))


def test_wrapping_keeps_the_values() -> None:
    module = build("mlp", (1, 8, 8), 10, seed=3)
    before = concatenated(copy.deepcopy(module.state_dict()))
    assert torch.equal(FlatModel(module).vector, before)


def test_views_share_memory_both_ways(model: FlatModel) -> None:
    vector = torch.arange(model.layout.size, dtype=torch.float32)
    model.bind(vector)
    offset = 0
    for parameter in model.module.parameters():
        assert parameter.data_ptr() == vector.data_ptr() + 4 * offset
        assert parameter.is_contiguous()
        offset += parameter.numel()
    vector += 1
    assert torch.equal(concatenated(model.module.state_dict()), vector)
    with torch.no_grad():
        next(model.module.parameters()).fill_(-7)
    assert torch.all(vector[: model.layout.sizes[0]] == -7)


def test_rebinding_leaves_the_old_vector_alone(model: FlatModel) -> None:
    first, second = torch.zeros(model.layout.size), torch.ones(model.layout.size)
    model.bind(first)
    model.bind(second)
    second.fill_(5)
    assert not first.any()
    assert model.vector is second


def test_rows_of_a_matrix_can_be_bound(model: FlatModel) -> None:
    rows = torch.zeros(3, model.layout.size)
    model.bind(rows[1])
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter.fill_(1)
    assert rows.sum(dim=1).tolist() == [0, model.layout.size, 0]


def test_training_equals_the_ordinary_module(model: FlatModel) -> None:
    """Several steps on two bound vectors in turn, against torch's own optimizer on two ordinary modules."""
    ordinary = [build("cnn", (1, 16, 16), 10, seed=seed) for seed in (0, 1)]
    vectors = [FlatModel(copy.deepcopy(module)).vector for module in ordinary]
    optimizers = [torch.optim.SGD(module.parameters(), lr=0.1) for module in ordinary]
    loss_of = nn.CrossEntropyLoss()
    torch.manual_seed(0)
    for _ in range(3):
        inputs, labels = torch.rand(4, 1, 16, 16), torch.randint(10, (4,))
        for module, vector, optimizer in zip(ordinary, vectors, optimizers, strict=True):
            optimizer.zero_grad()
            expected = loss_of(module(inputs), labels)
            expected.backward()

            model.bind(vector)
            model.gradient.zero_()
            loss = loss_of(model.module(inputs), labels)
            loss.backward()

            assert torch.equal(loss, expected)
            gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
            assert torch.equal(model.gradient, torch.cat([gradient.reshape(-1) for gradient in gradients]))
            optimizer.step()
            vector -= 0.1 * model.gradient
            torch.testing.assert_close(vector, concatenated(module.state_dict()), rtol=0, atol=1e-7)
            # Continue from identical bits, so that the gradients stay comparable bit for bit.
            vector.copy_(concatenated(module.state_dict()))


def test_gradient_stays_a_view(model: FlatModel) -> None:
    for _ in range(2):
        model.module(torch.rand(2, 1, 16, 16)).sum().backward()
    offset = 0
    for parameter in model.module.parameters():
        assert parameter.grad is not None
        assert parameter.grad.data_ptr() == model.gradient.data_ptr() + 4 * offset
        offset += parameter.numel()


def test_state_dict_is_independent_float32(model: FlatModel) -> None:
    vector = torch.rand(model.layout.size)
    state = model.state_dict_of(vector)
    assert list(state) == list(model.module.state_dict())
    assert torch.equal(concatenated(state), vector)
    for value in state.values():
        assert value.dtype == torch.float32
        assert value.is_contiguous()
        assert value.untyped_storage().nbytes() == 4 * value.numel()
    kept = concatenated(state)
    vector.zero_()
    assert torch.equal(concatenated(state), kept)
    build("cnn", (1, 16, 16), 10, seed=9).load_state_dict(state, strict=True)


def test_state_goes_round(model: FlatModel) -> None:
    vector = torch.rand(model.layout.size)
    state = model.state_dict_of(vector)
    backwards = dict(reversed(state.items()))
    assert torch.equal(model.vector_from_state(backwards, "file"), vector)


def test_double_precision() -> None:
    model = FlatModel(build("mlp", (4,), 2, seed=0).double())
    assert model.dtype == model.vector.dtype == model.gradient.dtype == torch.float64
    model.module(torch.rand(3, 4, dtype=torch.float64)).sum().backward()
    assert model.gradient.any()
    assert model.state_dict_of(model.vector)["1.weight"].dtype == torch.float32
    with pytest.raises(ValueError, match="float64"):
        model.bind(torch.zeros(model.layout.size))


def test_unsuitable_vectors(model: FlatModel) -> None:
    size = model.layout.size
    for vector in (
        torch.zeros(size - 1),
        torch.zeros(1, size),
        torch.zeros(2 * size)[::2],
        torch.zeros(size, requires_grad=True),
        torch.zeros(size, dtype=torch.float16),
    ):
        with pytest.raises(ValueError, match=r"needed|the model is"):
            model.bind(vector)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight


class WithExtraState(nn.Linear):
    def get_extra_state(self) -> Any:
        return {"steps": 3}


def frozen() -> nn.Module:
    module = nn.Linear(3, 3)
    module.weight.requires_grad = False
    return module


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), "1.running_mean.*GroupNorm"),
        (Tied(), "'first.weight' and 'second.weight' are one tensor"),
        (WithExtraState(2, 2), "_extra_state"),
        (frozen(), "'weight' is frozen"),
        (nn.LazyLinear(3), "'weight' has no shape yet"),
        (nn.Linear(3, 3).half(), "found: float16"),
        (nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3).double()), "found: float32, float64"),
        (nn.ReLU(), "found: none"),
    ],
)
def test_refused_modules(module: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message):
        FlatModel(module)


def test_constant_buffers_and_plain_normalisation_are_taken() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.GroupNorm(2, 4), nn.BatchNorm1d(4, track_running_stats=False))
    module.register_buffer("positions", torch.arange(4), persistent=False)
    assert FlatModel(module).names == ("0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.bias": None}, "missing 0.bias; not in the model none"),
        ({"more": torch.zeros(1)}, "missing none; not in the model more"),
        ({"0.bias": torch.zeros(7)}, r"'0.bias' has shape \(7,\), in the model \(6,\)"),
        ({"0.bias": torch.zeros(6, dtype=torch.int64)}, "'0.bias' is not a dense floating-point tensor"),
        ({"0.bias": [0.0] * 6}, "'0.bias' is not a dense floating-point tensor"),
        ({"0.bias": torch.full((6,), torch.nan)}, "holds NaN"),
    ],
)
def test_unsuitable_states(model: FlatModel, change: dict[str, Any], message: str) -> None:
    state = {**model.state_dict_of(model.vector), **change}
    fitting = {name: value for name, value in state.items() if value is not None}
    with pytest.raises(UserError, match=f"^start.pt.*{message}"):
        model.vector_from_state(fitting, "start.pt")
