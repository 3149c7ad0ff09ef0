import numpy as np
import pytest
from mpi4py import MPI

from fedcomloc_mpi.config import make_config
from fedcomloc_mpi.data import load, partition
from fedcomloc_mpi.errors import AgreedError, UserError
from fedcomloc_mpi.runtime import training_data
from fedcomloc_mpi.runtime.training_data import attempt, read_training_data
from tests.transport.worlds import world_of

pytestmark = pytest.mark.mpi(min_size=2)

CONFIG = make_config(dataset="digits", clients=12, cohort=3, alpha=0.3, seed=4)


def nodes() -> list[int]:
    """Two nodes where there are enough ranks."""
    size = MPI.COMM_WORLD.size
    return [0] * size if size < 4 else [rank % 2 for rank in range(size)]


def test_all_ranks_hold_the_same_data(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(MPI.COMM_WORLD, nodes())
    reads = 0

    def counted(*arguments: object) -> object:
        nonlocal reads
        reads += 1
        return load(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training_data, "load", counted)
    data = read_training_data(world, CONFIG.data, seed=4)
    assert reads == int(world.leads_node)
    expected = load("digits", None)
    parts = partition(
        expected.train_labels, "dirichlet", 12, alpha=0.3, min_samples=10, shards_per_client=2, seed=4
    )
    assert np.array_equal(data.inputs, expected.train_inputs)
    assert np.array_equal(data.labels, expected.train_labels)
    assert data.inputs.dtype == np.float32
    assert data.labels.dtype == np.int64
    assert data.input_shape == (1, 8, 8)
    assert (data.classes, data.redraws, data.repaired) == (expected.classes, parts.redraws, parts.repaired)
    assert len(data.partition) == 12
    for positions, own in zip(data.partition, parts.clients, strict=True):
        assert positions.dtype == np.int64
        assert positions.tolist() == own.tolist()
    if world.is_server:
        assert data.test_inputs is not None
        assert data.test_labels is not None
        assert np.array_equal(data.test_inputs, expected.test_inputs)
        assert np.array_equal(data.test_labels, expected.test_labels)
    else:
        assert data.test_inputs is data.test_labels is None


def test_what_one_node_cannot_read_stops_all(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(MPI.COMM_WORLD, nodes())
    culprit = max(world.node_of)

    def missing(*arguments: object) -> object:
        raise UserError("no such folder")

    if world.leads_node and world.node_of[world.rank] == culprit:
        monkeypatch.setattr(training_data, "load", missing)
    with pytest.raises(AgreedError, match=r"^no such folder$"):
        read_training_data(world, CONFIG.data, seed=4)


def test_more_clients_than_samples_stop_all() -> None:
    world = world_of(MPI.COMM_WORLD)
    config = make_config(dataset="digits", clients=5000, cohort=3)
    with pytest.raises(AgreedError, match=r"5,?000"):
        read_training_data(world, config.data, seed=4)


def test_an_attempt_that_succeeds() -> None:
    world = world_of(MPI.COMM_WORLD)
    done: list[int] = []
    attempt(world, (lambda: done.append(1)) if world.is_server else None)
    assert done == [1] * world.is_server
