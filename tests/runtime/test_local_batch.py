"""Clients in lock-step against each of them alone."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fedcomloc_mpi.models import FlatModel
from fedcomloc_mpi.models.batched import BatchedModel
from fedcomloc_mpi.runtime.local_batch import LocalBatch
from fedcomloc_mpi.runtime.local_problem import LocalProblem
from tests.devices import DEVICES
from tests.runtime.test_local_problem import INPUTS, LABELS, network, no_compression

POSITIONS = [np.arange(5, 45, 2), np.arange(3), np.array([7]), np.arange(60)]
CLIENTS = [2, 3, 5, 11]

pytestmark = pytest.mark.parametrize("where", DEVICES)


def batch(
    where: str, clients: int, batch_size: int, compress: Any = no_compression, **options: Any
) -> LocalBatch:
    model = BatchedModel(network().to(where))
    inputs, labels = INPUTS.to(where), LABELS.to(where)
    positions, ids = POSITIONS[:clients], CLIENTS[:clients]
    return LocalBatch(model, inputs, labels, positions, batch_size, 9, 4, ids, compress, **options)


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.3, "clip_norm": 0.2}], ids=["plain", "both"])
@pytest.mark.parametrize("batch_size", [0, 4, 30, 100])
@pytest.mark.parametrize("clients", [1, 4])
def test_gradients_and_losses_of_each_client(
    where: str, clients: int, batch_size: int, options: dict[str, Any]
) -> None:
    """Also where clients have fewer samples than a minibatch, so that theirs are filled up."""
    together = batch(where, clients, batch_size, **options)
    alone = [
        LocalProblem(
            FlatModel(network()), cross_entropy, INPUTS, LABELS, POSITIONS[row], batch_size, 9, 4, CLIENTS[row],
            no_compression, **options,
        )
        for row in range(clients)
    ]  # fmt: skip
    size = FlatModel(network()).layout.size
    models = torch.randn(clients, size, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) / 5
    for step in range(3):
        models += 0.01 * step
        there = models.to(where)
        before = there.clone()
        gradients = together.gradient(there).cpu()
        assert torch.equal(there, before)
        for row, problem in enumerate(alone):
            torch.testing.assert_close(gradients[row], problem.gradient(models[row]), rtol=1e-9, atol=1e-12)
    expected = [problem.mean_loss for problem in alone]
    np.testing.assert_allclose(together.mean_losses(), expected, rtol=1e-10)


def test_one_client_may_be_a_vector(where: str) -> None:
    model = torch.linspace(-1, 1, FlatModel(network()).layout.size, dtype=torch.float64).to(where)
    gradient = batch(where, 1, 4).gradient(model)
    assert gradient.shape == model.shape
    assert torch.equal(gradient, batch(where, 1, 4).gradient(model[None])[0])


def test_a_client_that_diverges_leaves_the_others_alone(where: str) -> None:
    models = torch.zeros(4, FlatModel(network()).layout.size, dtype=torch.float64, device=where)
    models[1] = torch.nan
    together = batch(where, 4, 4, clip_norm=1.0)
    assert together.gradient(models).isnan().all(dim=1).tolist() == [False, True, False, False]
    assert np.isnan(together.mean_losses()).tolist() == [False, True, False, False]


def test_compression_is_told_the_step(where: str) -> None:
    asked: list[int] = []

    def compress(models: Tensor, step: int) -> Tensor:
        asked.append(step)
        return -models

    together = batch(where, 2, 4, compress)
    models = torch.ones(2, FlatModel(network()).layout.size, dtype=torch.float64, device=where)
    for _ in range(3):
        assert torch.equal(together.compress(models), -models)
        together.gradient(models)
    assert asked == [0, 1, 2]


def test_the_losses_before_any_step(where: str) -> None:
    assert batch(where, 2, 4).mean_losses().tolist() == [0, 0]
