import pytest
import torch
from torch import Tensor, nn

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.models import BUILDERS, build

SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32), "digits": (1, 8, 8)}


def parameters_of(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "dataset", "count"),
    [
        ("mlp", "mnist", 199_210),
        ("mlp", "digits", 64 * 200 + 200 + 200 * 200 + 200 + 200 * 10 + 10),
        ("logistic", "digits", 64 * 10 + 10),
        ("mlp", "cifar10", 3072 * 200 + 200 + 200 * 200 + 200 + 200 * 10 + 10),
        ("cnn", "cifar10", 62_006),
        ("cnn", "mnist", (25 + 1) * 6 + (150 + 1) * 16 + 257 * 120 + 121 * 84 + 85 * 10),
    ],
)
def test_sizes(name: str, dataset: str, count: int) -> None:
    model = build(name, SHAPES[dataset], 10, seed=0)
    assert parameters_of(model) == count
    assert model(torch.zeros(3, *SHAPES[dataset])).shape == (3, 10)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_mlp_is_the_published_function() -> None:
    model = build("mlp", (1, 8, 8), 10, seed=4)
    w1, b1, w2, b2, w3, b3 = model.parameters()
    inputs = torch.rand(5, 1, 8, 8)
    hidden = torch.clamp(inputs.reshape(5, 64) @ w1.T + b1, min=0)
    hidden = torch.clamp(hidden @ w2.T + b2, min=0)
    torch.testing.assert_close(model(inputs), hidden @ w3.T + b3)


def test_cnn_is_the_published_function() -> None:
    model = build("cnn", (3, 32, 32), 10, seed=4)
    w1, b1, w2, b2, w3, b3, w4, b4, w5, b5 = model.parameters()

    def stage(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        # A convolution written as patches times weights, then the largest of each 2x2 block.
        count, _, rows, columns = images.shape
        patches = nn.functional.unfold(images, 5)
        maps = (weight.reshape(len(weight), -1) @ patches + bias[:, None]).clamp(min=0)
        return maps.reshape(count, -1, (rows - 4) // 2, 2, (columns - 4) // 2, 2).amax(dim=(3, 5))

    inputs = torch.rand(2, 3, 32, 32)
    features = stage(stage(inputs, w1, b1), w2, b2).reshape(2, 400)
    hidden = (features @ w3.T + b3).clamp(min=0)
    hidden = (hidden @ w4.T + b4).clamp(min=0)
    torch.testing.assert_close(model(inputs), hidden @ w5.T + b5, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_seed_decides_everything(name: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build(name, (1, 28, 28), 10, seed=7)
    assert torch.equal(torch.get_rng_state(), before), "the global random state moved"
    torch.manual_seed(2)
    again, other = build(name, (1, 28, 28), 10, seed=7), build(name, (1, 28, 28), 10, seed=8)
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_largest_seed() -> None:
    build("mlp", (4,), 2, seed=2**63 - 1)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 15, 28), (1, 28, 15)])
def test_image_too_small(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"image too small for model 'cnn'.*16x16.*--model mlp"):
        build("cnn", shape, 10, seed=0)


def test_smallest_image() -> None:
    assert build("cnn", (1, 16, 16), 10, seed=0)(torch.zeros(1, 1, 16, 16)).shape == (1, 10)


def test_no_image() -> None:
    with pytest.raises(UserError, match="takes images"):
        build("cnn", (64,), 10, seed=0)


def test_unknown_model() -> None:
    with pytest.raises(UserError, match="unknown model 'resnet': the models are mlp, cnn"):
        build("resnet", (1, 8, 8), 10, seed=0)
