"""The training set and its partition, once in the memory of every node."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedcomloc_mpi.config import DataConfig
from fedcomloc_mpi.data import Dataset, Partition, check_dataset, load, partition
from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.transport.shared_memory import shared_array
from fedcomloc_mpi.transport.wait import wait_all
from fedcomloc_mpi.transport.world import World

_MAX_DIMENSIONS = 8


@dataclass(frozen=True)
class TrainingData:
    """What every rank holds of the data.

    inputs: float32 [N, *input_shape] and labels: int64 [N], shared by the ranks of a node; partition: the positions of
    each client's samples, int64, views of shared memory. test_inputs, test_labels: the test set on the server, else
    None. redraws, repaired: what the partition needed to give every client its minimum.
    """

    inputs: np.ndarray
    labels: np.ndarray
    partition: tuple[np.ndarray, ...]
    classes: int
    redraws: int
    repaired: int
    test_inputs: np.ndarray | None
    test_labels: np.ndarray | None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.inputs.shape[1:]


def read_training_data(
    world: World, config: DataConfig, seed: int, own: Dataset | Callable[[], Dataset] | None = None
) -> TrainingData:
    """Read and partition the data set on one rank of every node and share it with the others.

    `own`, if given, is used in place of the configured one, or makes it on the ranks that lead a node; it must be equal
    on all of these. All ranks must call this. Raises UserError on all ranks alike, for what is wrong with the data or
    the partition.
    """
    dataset: Dataset | None = None
    parts: Partition | None = None

    def prepare() -> None:
        nonlocal dataset, parts
        if own is None:
            dataset = load(config.dataset, config.data_dir, config.download)
        else:
            dataset = own() if callable(own) else own
            check_dataset(dataset)
        parts = partition(
            dataset.train_labels,
            config.partition,
            config.clients,
            alpha=config.alpha,
            min_samples=config.min_samples,
            shards_per_client=config.shards_per_client,
            seed=seed,
        )

    attempt(world, prepare if world.leads_node else None)
    facts = np.zeros(4 + _MAX_DIMENSIONS, dtype=np.int64)
    if dataset is not None and parts is not None:
        shape = dataset.train_inputs.shape
        facts[:4] = len(shape), dataset.classes, parts.redraws, parts.repaired
        facts[4 : 4 + len(shape)] = shape
    wait_all([world.node.Ibcast(facts, root=0)])
    shape = tuple(facts[4 : 4 + facts[0]].tolist())
    inputs = shared_array(world.node, shape, np.float32)
    labels = shared_array(world.node, shape[:1], np.int64)
    order = shared_array(world.node, shape[:1], np.int64)
    ends = shared_array(world.node, (config.clients,), np.int64)
    if world.leads_node:
        assert dataset is not None
        assert parts is not None
        inputs[:] = dataset.train_inputs
        labels[:] = dataset.train_labels
        order[:] = np.concatenate(parts.clients)
        ends[:] = np.cumsum([len(positions) for positions in parts.clients])
    wait_all([world.node.Ibarrier()])
    return TrainingData(
        inputs=inputs,
        labels=labels,
        partition=tuple(np.split(order, ends[:-1])),
        classes=int(facts[1]),
        redraws=int(facts[2]),
        repaired=int(facts[3]),
        test_inputs=dataset.test_inputs if world.is_server and dataset is not None else None,
        test_labels=dataset.test_labels if world.is_server and dataset is not None else None,
    )


def attempt(world: World, action: Callable[[], object] | None) -> None:
    """Run `action` where it is given; raise its UserError on every rank if it failed on any. All ranks call this."""
    error: UserError | None = None
    if action is not None:
        try:
            action()
        except UserError as problem:
            error = problem
    world.agree(error)
