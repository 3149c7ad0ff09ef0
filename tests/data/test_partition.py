"""Partitions: every sample once, enough for everybody, the same on every rank, the documented rule."""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedcomloc_mpi.data import PARTITIONS, Partition, holds_partition, partition, save_partition
from fedcomloc_mpi.data.partition import dirichlet_shares
from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.randomness import Purpose, generator

MNIST_LABELS = np.random.default_rng(1).integers(0, 10, 60_000)

label_arrays = st.lists(st.integers(0, 6), min_size=1, max_size=300).map(
    lambda x: np.array(x, dtype=np.int64)
)
seeds = st.integers(0, 2**63 - 1)
alphas = st.floats(1e-4, 1e4) | st.sampled_from([5e-324, 1e-200, 1.7e308])


def assert_each_sample_once(result: Partition, samples: int, clients: int) -> None:
    assert len(result.clients) == clients
    for held in result.clients:
        assert held.dtype == np.int64 and len(held) > 0 and (np.diff(held) > 0).all()
    np.testing.assert_array_equal(np.sort(np.concatenate(result.clients)), np.arange(samples))


def sizes(result: Partition) -> NDArray[np.int64]:
    return np.array([len(held) for held in result.clients])


@given(labels=label_arrays, data=st.data(), alpha=alphas, least=st.integers(0, 40), seed=seeds)
@settings(max_examples=300)
def test_dirichlet_properties(labels: Any, data: st.DataObject, alpha: float, least: int, seed: int) -> None:
    clients = data.draw(st.integers(1, len(labels)))
    result = partition(labels, "dirichlet", clients, alpha=alpha, min_samples=least, seed=seed)
    assert_each_sample_once(result, len(labels), clients)
    assert sizes(result).min() >= min(least, len(labels) // clients)
    assert 0 <= result.redraws <= 10 and 0 <= result.repaired < len(labels)
    assert result.redraws == 10 or result.repaired == 0
    again = partition(labels, "dirichlet", clients, alpha=alpha, min_samples=least, seed=seed)
    assert (again.redraws, again.repaired) == (result.redraws, result.repaired)
    for one, other in zip(result.clients, again.clients, strict=True):
        np.testing.assert_array_equal(one, other)


@given(labels=label_arrays, data=st.data(), seed=seeds)
def test_iid_properties(labels: Any, data: st.DataObject, seed: int) -> None:
    clients = data.draw(st.integers(1, len(labels)))
    result = partition(labels, "iid", clients, seed=seed)
    assert_each_sample_once(result, len(labels), clients)
    assert np.ptp(sizes(result)) <= 1 and result.redraws == result.repaired == 0


@given(labels=label_arrays, data=st.data(), seed=seeds)
def test_shards_properties(labels: Any, data: st.DataObject, seed: int) -> None:
    clients = data.draw(st.integers(1, len(labels)))
    each = data.draw(st.integers(1, len(labels) // clients))
    result = partition(labels, "shards", clients, shards_per_client=each, seed=seed)
    assert_each_sample_once(result, len(labels), clients)
    smallest = len(labels) // (clients * each)
    assert (sizes(result) >= each * smallest).all() and (sizes(result) <= each * (smallest + 1)).all()


def test_shards_hold_few_classes() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 60))
    result = partition(labels, "shards", 100, shards_per_client=2)
    assert max(len(np.unique(labels[held])) for held in result.clients) <= 2
    assert len({tuple(np.unique(labels[held])) for held in result.clients}) > 20


@pytest.mark.parametrize("name", PARTITIONS)
def test_another_seed_gives_another_partition(name: str) -> None:
    one, other = (partition(MNIST_LABELS, name, 50, seed=seed) for seed in (0, 1))
    assert any(not np.array_equal(a, b) for a, b in zip(one.clients, other.clients, strict=True))


def reference_draw(
    labels: list[int], clients: int, alpha: float, rng: np.random.Generator
) -> list[list[int]]:
    """The rule of the documentation, a sample and a client at a time, with the same random numbers."""
    held: list[list[int]] = [[] for _ in range(clients)]
    for label in sorted(set(labels)):
        shuffled = rng.permutation([i for i, other in enumerate(labels) if other == label]).tolist()
        gammas = rng.standard_gamma(alpha + 1, clients).tolist()
        powers = rng.standard_exponential(clients).tolist()
        q = [gamma * math.exp(-power / alpha) for gamma, power in zip(gammas, powers, strict=True)]
        full = [len(h) >= len(labels) / clients for h in held]
        q = [0.0 if f else x / sum(q) for x, f in zip(q, full, strict=True)]
        if sum(q) == 0:
            q = [0.0 if f else 1.0 for f in full]
        ends = [int(sum(q[: i + 1]) / sum(q) * len(shuffled) + 1e-9) for i in range(clients)]
        for client, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            held[client] += shuffled[start:end]
    return held


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("clients", "alpha"), [(3, 0.7), (7, 0.3), (5, 10.0)])
def test_dirichlet_equals_reference(clients: int, alpha: float, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 4, 120)
    least = 8
    result = partition(labels, "dirichlet", clients, alpha=alpha, min_samples=least, seed=seed)
    rng = generator(seed, Purpose.PARTITION)
    expected = reference_draw(labels.tolist(), clients, alpha, rng)
    redraws = 0
    while min(map(len, expected)) < least and redraws < 10:
        expected = reference_draw(labels.tolist(), clients, alpha, rng)
        redraws += 1
    assert result.redraws == redraws
    if result.repaired == 0:
        assert [held.tolist() for held in result.clients] == [sorted(held) for held in expected]
        return
    # Repair, one sample at a time from the largest client.
    reference_sizes = [len(held) for held in expected]
    moves = 0
    while min(reference_sizes) < least:
        reference_sizes[reference_sizes.index(max(reference_sizes))] -= 1
        reference_sizes[next(i for i, size in enumerate(reference_sizes) if size < least)] += 1
        moves += 1
    assert (result.repaired, sizes(result).tolist()) == (moves, reference_sizes)
    kept = sum(len(set(held) & set(now.tolist())) for held, now in zip(expected, result.clients, strict=True))
    assert kept == len(labels) - moves


def test_repair_takes_from_the_largest() -> None:
    # Of one class, alpha 1e-9 gives everything to one client: the others are filled by repair alone.
    result = partition(np.zeros(1000, dtype=np.int64), "dirichlet", 10, alpha=1e-9, min_samples=30)
    assert sorted(sizes(result).tolist()) == [30] * 9 + [730]
    assert (result.redraws, result.repaired) == (10, 270)


def test_nobody_grows_after_being_full() -> None:
    # A client may pass the mean (100) within a class, but then gets nothing of a later one.
    labels = np.repeat(np.arange(10), 100)
    result = partition(labels, "dirichlet", 10, alpha=0.05, min_samples=0, seed=3)
    for held in result.clients:
        classes, counts = np.unique(labels[held], return_counts=True)
        assert counts[classes != classes.max()].sum() < 100


@pytest.mark.parametrize("alpha", [0.05, 0.7, 5.0])
def test_shares_have_the_moments_of_the_dirichlet_distribution(alpha: float) -> None:
    clients, draws = 5, 20_000
    rng = np.random.default_rng(0)
    shares = np.array([dirichlet_shares(alpha, clients, rng) for _ in range(draws)])
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(shares.mean(axis=0), 1 / clients, atol=0.015)
    variance = (1 / clients) * (1 - 1 / clients) / (clients * alpha + 1)
    np.testing.assert_allclose(shares.var(axis=0), variance, rtol=0.06)


@given(alpha=alphas, clients=st.integers(1, 200), seed=seeds)
def test_shares_are_finite(alpha: float, clients: int, seed: int) -> None:
    shares = dirichlet_shares(alpha, clients, np.random.default_rng(seed))
    assert np.isfinite(shares).all() and (shares >= 0).all() and math.isclose(shares.sum(), 1)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("clients", "alpha"), [(100, 0.001), (10_000, 0.05), (60_000, 0.001), (60_000, 0.7)])
def test_extremes_end(clients: int, alpha: float) -> None:
    result = partition(MNIST_LABELS, "dirichlet", clients, alpha=alpha)
    assert_each_sample_once(result, 60_000, clients)
    assert sizes(result).min() >= min(10, 60_000 // clients)


def test_published_job() -> None:
    result = partition(MNIST_LABELS, "dirichlet", 100, alpha=0.7)
    classes_held = [len(np.unique(MNIST_LABELS[held])) for held in result.clients]
    assert sizes(result).min() >= 10 and 4 < np.mean(classes_held) < 10


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "dirichlet", "clients": 21}, "--clients 21 is more than the 20 training samples"),
        ({"name": "iid", "clients": 21}, "--clients 21 is more than the 20 training samples"),
        ({"name": "iid", "clients": 0}, "--clients must be at least 1, not 0"),
        (
            {"name": "shards", "clients": 7, "shards_per_client": 3},
            "7 x --shards-per-client 3 shards are more",
        ),
        ({"name": "shards", "clients": 7, "shards_per_client": 0}, "--shards-per-client must be at least 1"),
        (
            {"name": "dirichlet", "clients": 2, "alpha": 0.0},
            "--alpha must be a finite number above 0, not 0.0",
        ),
        ({"name": "dirichlet", "clients": 2, "alpha": math.nan}, "--alpha must be a finite number"),
        ({"name": "dirichlet", "clients": 2, "alpha": math.inf}, "--alpha must be a finite number"),
        (
            {"name": "dirichlet", "clients": 2, "min_samples": -1},
            "--min-samples must not be negative, not -1",
        ),
        ({"name": "dirichlett", "clients": 2}, "did you mean dirichlet?"),
        ({"name": "x", "clients": 2}, "known are dirichlet, iid, shards"),
    ],
)
def test_refusals(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as caught:
        partition(np.arange(20) % 3, **arguments)
    assert says in str(caught.value)


def test_saved_partition(tmp_path: Path) -> None:
    result = partition(MNIST_LABELS, "dirichlet", 12)
    path = tmp_path / "partition.npz"
    save_partition(path, result)
    with np.load(path) as archive:
        assert archive.files == [str(client) for client in range(12)]
        for client, held in enumerate(result.clients):
            assert archive[str(client)].dtype == np.int64
            np.testing.assert_array_equal(archive[str(client)], held)
    assert [entry.name for entry in tmp_path.iterdir()] == ["partition.npz"]


def test_held_partition(tmp_path: Path) -> None:
    clients = [np.array([0, 3]), np.array([1, 2, 4])]
    path = tmp_path / "partition.npz"
    save_partition(path, Partition(clients))
    assert holds_partition(path, clients)
    assert not holds_partition(path, clients[:1])
    assert not holds_partition(path, [clients[0], np.array([1, 2, 5])])
    assert not holds_partition(path, [clients[0], np.array([1, 2])])
    assert not holds_partition(path, [clients[0], np.array([1, 2, 4, 5])])


def npy(header: bytes, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"no npy",
        npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", b"cos\nsystem\n."),
        npy(b"{'descr': '<i8', 'fortran_order': False, 'shape': (" + b"9" * 5000 + b",), }\n"),
        npy(b"(" * 60000),
    ],
)
def test_damaged_partition(contents: bytes, tmp_path: Path) -> None:
    path = tmp_path / "partition.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("0.npy", contents)
    with pytest.raises(UserError, match=r"partition\.npz is damaged"):
        holds_partition(path, [np.array([0])])
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(UserError, match=r"partition\.npz is damaged"):
        holds_partition(path, [np.array([0])])


def test_what_a_partition_claims_is_not_allocated(tmp_path: Path) -> None:
    path = tmp_path / "partition.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "0.npy",
            npy(b"{'descr': '<i8', 'fortran_order': False, 'shape': (10000000000000,), }\n", bytes(8)),
        )
    assert not holds_partition(path, [np.array([0])])


def test_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "partition.npz"
    path.write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(UserError, match="disk full"):
        save_partition(path, partition(MNIST_LABELS, "iid", 3))
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1
