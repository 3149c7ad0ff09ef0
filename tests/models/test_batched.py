"""Several models at once against one at a time, through the layers and through vmap."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.models import FlatModel, build
from fedcomloc_mpi.models.batched import BatchedModel
from tests.devices import DEVICES

CLIENTS, SAMPLES, CLASSES = 3, 5, 4


def layers() -> nn.Module:
    """Every kind of layer that is known."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False),
        nn.GELU(),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 3, 2, padding="same", dilation=2),
        nn.Tanh(),
        nn.MaxPool2d(2, stride=1),
        nn.Identity(),
        nn.Flatten(),
        nn.Linear(27, 6, bias=False),
        nn.LeakyReLU(),
        nn.Linear(6, CLASSES),
    )


class Branches(nn.Module):
    """No sequence, with parameters of no dimension, and one that nothing depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(32, CLASSES), nn.Linear(32, CLASSES)
        self.weight = nn.Parameter(torch.tensor(0.7))
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        outputs: Tensor = self.left(flat).relu() + self.weight * self.right(flat)
        return outputs


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], bool]] = {
    "mlp": (lambda: build("mlp", (1, 4, 4), CLASSES, 1), (1, 4, 4), True),
    "cnn": (lambda: build("cnn", (3, 32, 32), CLASSES, 1), (3, 32, 32), True),
    "logistic": (lambda: build("logistic", (9,), CLASSES, 1), (9,), True),
    "layers": (layers, (2, 16, 16), True),
    "linear on images": (lambda: nn.Sequential(nn.Linear(4, 2), nn.Flatten()), (2, 4), True),
    "branches": (Branches, (2, 16), False),
    "layer norm": (
        lambda: nn.Sequential(nn.Linear(8, 5), nn.LayerNorm(5), nn.Linear(5, CLASSES)),
        (8,),
        False,
    ),
}


@pytest.mark.parametrize("where", DEVICES)
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_and_gradients_are_those_of_each_model(name: str, where: str) -> None:
    make, shape, grouped = NETWORKS[name]
    module = make().double().to(where)
    ordinary = FlatModel(module)
    random = torch.Generator().manual_seed(4)
    size = ordinary.layout.size
    models = (torch.randn(CLIENTS, size, dtype=torch.float64, generator=random) / 3).to(where)
    inputs = torch.randn(CLIENTS, SAMPLES, *shape, dtype=torch.float64, generator=random).to(where)
    labels = torch.randint(0, CLASSES, (CLIENTS, SAMPLES), generator=random).to(where)

    def loss(outputs: Tensor) -> Tensor:
        losses = cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="none")
        return losses.view(labels.shape).mean(dim=1)

    assert BatchedModel(module).grouped == grouped
    batched = [
        BatchedModel(module),
        BatchedModel(module, grouped=False),
        *(BatchedModel(module, convolve_in_groups=in_groups) for in_groups in (True, False)),
    ]
    for model in batched:
        model.check(models, inputs)
        outputs = model(models, inputs)
        gradient = torch.full_like(models, torch.nan)
        losses = model.gradient(models, inputs, loss, gradient)
        assert not losses.requires_grad
        for row in range(CLIENTS):
            ordinary.bind(models[row].contiguous())
            ordinary.gradient.zero_()
            expected = ordinary.module(inputs[row])
            torch.testing.assert_close(outputs[row], expected, rtol=1e-12, atol=1e-12)
            one = cross_entropy(expected, labels[row])
            one.backward()
            torch.testing.assert_close(losses[row], one.detach(), rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(gradient[row], ordinary.gradient, rtol=1e-10, atol=1e-12)


def test_what_layer_by_layer_would_get_wrong_goes_through_vmap() -> None:
    hooked = nn.Sequential(nn.Linear(2, 2))
    hooked[0].register_forward_hook(lambda layer, inputs, output: 2 * output)
    for module in [
        hooked,
        nn.Sequential(nn.Conv2d(2, 2, 1, groups=2)),
        nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular")),
        nn.Sequential(nn.Flatten(0)),
        nn.Sequential(nn.Sequential(nn.Linear(2, 2))),
        nn.Linear(2, 2),
    ]:
        assert not BatchedModel(module).grouped
        with pytest.raises(ValueError, match="not a sequence of known layers"):
            BatchedModel(module, grouped=True)


class Stubborn(nn.Linear):
    """Its forward depends on a value, which vmap cannot know."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if float(x.sum()) < 1e9 else x


class AcrossSamples(nn.Linear):
    """It centres its outputs over the minibatch."""

    def __init__(self) -> None:
        super().__init__(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        outputs = super().forward(x)
        return outputs - outputs.mean(dim=0)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (
            nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False)),
            r"\(Expected more than 1 value",
        ),
        (AcrossSamples(), "depends on other samples or on chance"),
        (nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)), "other samples or on chance"),
        (Stubborn(3, 3), r"the model Stubborn cannot run several clients at once \(.*--client-batch 1"),
    ],
)
def test_what_cannot_run_batched_is_refused(module: nn.Module, reason: str) -> None:
    size = sum(parameter.numel() for parameter in module.parameters())
    inputs = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))
    models = torch.linspace(-1, 1, 2 * size).view(2, size)
    with pytest.raises(UserError, match=reason) as error:
        BatchedModel(module).check(models, inputs)
    assert "\n" not in str(error.value)
    one, gradient = BatchedModel(module, grouped=False), torch.empty(1, size)
    assert one.gradient(models[:1], inputs[:1], lambda outputs: outputs.sum(dim=(1, 2)), gradient).shape == (
        1,
    )
    assert gradient.isfinite().all(), "one client at a time it runs like any module"
