from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from fedcomloc_mpi.models import FlatModel, build
from fedcomloc_mpi.runtime.local_problem import LocalProblem

SAMPLES = 60
INPUTS = torch.from_numpy(np.random.default_rng(0).normal(size=(SAMPLES, 1, 4, 4)))
LABELS = torch.from_numpy(np.random.default_rng(1).integers(0, 3, SAMPLES))


def network(seed: int = 5) -> torch.nn.Module:
    return build("mlp", (1, 4, 4), 3, seed).double()


def no_compression(model: Tensor, step: int) -> Tensor:
    raise AssertionError("not asked for")


def problem(
    positions: np.ndarray,
    batch_size: int,
    *,
    model: FlatModel | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    labels: Tensor = LABELS,
    place: tuple[int, int, int] = (0, 1, 2),
    compress: Callable[[Tensor, int], Tensor] = no_compression,
    **options: Any,
) -> LocalProblem:
    """A client's problem; place = (seed, round, client)."""
    model = model or FlatModel(network())
    return LocalProblem(model, loss, INPUTS, labels, positions, batch_size, *place, compress, **options)


def drawn_batches(
    positions: np.ndarray, batch_size: int, steps: int, place: tuple[int, int, int] = (0, 1, 2)
) -> list[list[int]]:
    """The samples of each step, seen through labels that are the samples' own positions."""
    seen: list[list[int]] = []

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        seen.append(labels.tolist())
        return outputs.square().mean()

    client = problem(positions, batch_size, loss=loss, labels=torch.arange(SAMPLES), place=place)
    model = torch.zeros(FlatModel(network()).layout.size, dtype=torch.float64)
    for _ in range(steps):
        client.gradient(model)
    return seen


@given(st.sets(st.integers(0, SAMPLES - 1), min_size=1), st.integers(0, SAMPLES + 5))
def test_a_batch_is_distinct_samples_of_the_client(samples: set[int], batch_size: int) -> None:
    positions = np.array(sorted(samples), dtype=np.int64)
    for batch in drawn_batches(positions, batch_size, 3):
        assert len(set(batch)) == len(batch) == min(batch_size or len(samples), len(samples))
        assert set(batch) <= samples


@pytest.mark.parametrize("batch_size", [0, 7, 100])
def test_a_full_batch_takes_the_samples_in_their_order(batch_size: int) -> None:
    positions = np.array([3, 5, 8, 13, 21, 34, 55])
    assert drawn_batches(positions, batch_size, 2) == [positions.tolist()] * 2


def test_every_step_round_client_and_seed_draws_afresh_and_repeatably() -> None:
    positions = np.arange(SAMPLES)
    places = [(0, 1, 2), (1, 1, 2), (0, 2, 2), (0, 1, 3), (0, 2, 1)]
    batches = [tuple(batch) for place in places for batch in drawn_batches(positions, 20, 4, place)]
    assert len({frozenset(batch) for batch in batches}) == len(batches)
    assert drawn_batches(positions, 20, 4, places[0]) == [list(batch) for batch in batches[:4]]


def test_all_samples_are_drawn_equally_often() -> None:
    steps, size = 600, 12
    counts = np.zeros(SAMPLES)
    for batch in drawn_batches(np.arange(SAMPLES), size, steps):
        counts[batch] += 1
    share = size / SAMPLES
    assert np.abs(counts / steps - share).max() < 5 * (share * (1 - share) / steps) ** 0.5


@pytest.mark.parametrize("batch_size", [0, 10])
def test_gradients_are_those_of_the_ordinary_module(batch_size: int) -> None:
    positions = np.arange(5, 45, 2)
    batches = drawn_batches(positions, batch_size, 4)
    model = FlatModel(network())
    client = problem(positions, batch_size, model=model)
    random = torch.Generator().manual_seed(3)
    vectors = [torch.randn(model.layout.size, dtype=torch.float64, generator=random) / 5 for _ in range(2)]
    ordinary, losses = network(), []
    for step, batch in enumerate(batches):
        # The iterate changes in place, as in local steps, and another model may come in between.
        vector = vectors[step // 2]
        vector += 0.01 * step
        torch.nn.utils.vector_to_parameters(vector.clone(), ordinary.parameters())
        loss = cross_entropy(ordinary(INPUTS[batch]), LABELS[batch])
        expected = torch.autograd.grad(loss, list(ordinary.parameters()))
        before = vector.clone()
        gradient = client.gradient(vector)
        torch.testing.assert_close(
            gradient, torch.cat([each.reshape(-1) for each in expected]), rtol=1e-12, atol=1e-14
        )
        gradient.zero_()  # the caller may overwrite it
        assert torch.equal(vector, before)
        losses.append(loss.item())
        assert client.mean_loss == pytest.approx(np.mean(losses), rel=1e-12)


@pytest.mark.parametrize("clip_norm", [0.01, 1e6])
def test_clipping_then_weight_decay(clip_norm: float) -> None:
    positions = np.arange(5, 45, 2)
    plain = problem(positions, 0)
    client = problem(positions, 0, clip_norm=clip_norm, weight_decay=0.3)
    vector = torch.linspace(-1, 1, FlatModel(network()).layout.size, dtype=torch.float64)
    gradient = plain.gradient(vector)
    norm = float(gradient.norm())
    assert 0.01 < norm < 1e6
    expected = gradient * min(1.0, clip_norm / norm) + 0.3 * vector
    torch.testing.assert_close(client.gradient(vector), expected, rtol=1e-12, atol=1e-14)
    assert client.mean_loss == plain.mean_loss, "the recorded loss is that of the data"


def test_clipping_does_not_hide_a_divergence() -> None:
    client = problem(np.arange(3), 0, clip_norm=1.0)
    vector = torch.full((FlatModel(network()).layout.size,), torch.nan, dtype=torch.float64)
    assert client.gradient(vector).isnan().any()


def test_two_clients_may_take_turns_on_one_model() -> None:
    model = FlatModel(network())
    vectors = [torch.full((model.layout.size,), 0.01 * (1 + i), dtype=torch.float64) for i in range(2)]
    together = [problem(np.arange(10 * i, 10 * i + 10), 4, model=model, place=(0, 1, i)) for i in range(2)]
    alone = [problem(np.arange(10 * i, 10 * i + 10), 4, place=(0, 1, i)) for i in range(2)]
    for _ in range(3):
        for shared, own, vector in zip(together, alone, vectors, strict=True):
            assert torch.equal(shared.gradient(vector), own.gradient(vector))


def test_the_loss_before_any_step() -> None:
    assert problem(np.arange(3), 2).mean_loss == 0


def test_a_diverged_loss_shows() -> None:
    model = FlatModel(network())
    client = problem(np.arange(3), 0, model=model)
    client.gradient(torch.zeros(model.layout.size, dtype=torch.float64))
    client.gradient(torch.full((model.layout.size,), torch.nan, dtype=torch.float64))
    assert np.isnan(client.mean_loss)


def test_compression_is_told_the_step() -> None:
    asked: list[int] = []

    def compress(model: Tensor, step: int) -> Tensor:
        asked.append(step)
        return -model

    model = FlatModel(network())
    client = problem(np.arange(5), 2, model=model, compress=compress)
    vector = torch.ones(model.layout.size, dtype=torch.float64)
    for _ in range(3):
        assert torch.equal(client.compress(vector), -vector)
        client.gradient(vector)
    assert asked == [0, 1, 2]
