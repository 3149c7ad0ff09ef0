"""What every rank knows before the first round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from fedcomloc_mpi.algorithms import Algorithm, Round, stepsize
from fedcomloc_mpi.compressors import Compressor
from fedcomloc_mpi.config import Config
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.models.flat import FlatModel
from fedcomloc_mpi.runtime.balance import step_work
from fedcomloc_mpi.runtime.devices import Devices, cpu_only
from fedcomloc_mpi.runtime.schedule import Assignment, assign, draw_cohort, local_steps
from fedcomloc_mpi.runtime.training_data import TrainingData
from fedcomloc_mpi.transport.world import World
from fedcomloc_mpi.wire import Reference, available


@dataclass(frozen=True)
class RoundPlan:
    """One round as all ranks derive it.

    round: its numbers; cohort: its clients, int64 [m], ascending; weights: theirs in the mean, float64 [m]; work: int64
    [m], what a local step of each client costs; assignment: who runs whom.
    """

    round: Round
    cohort: np.ndarray
    weights: np.ndarray
    work: np.ndarray
    assignment: Assignment


@dataclass(frozen=True)
class Setup:
    """The parts of a job that are equal on every rank.

    uplink, downlink: the compressors of the two directions (the identity where nothing is lossy). deployed: C, the
    compressor of the model that a user would deploy; None for a method without one. initial: x_0, float32 [d]. weights:
    of all clients in the mean, float64 [n], 1 on average. samples: int64 [n], how many each client has. coders: the set
    that every rank's messages are written with (`wire.available`). devices: what the ranks compute on.
    """

    config: Config
    world: World
    algorithm: Algorithm
    model: FlatModel
    loss: Callable[[Tensor, Tensor], Tensor]
    uplink: Compressor
    downlink: Compressor
    deployed: Compressor | None
    initial: Tensor
    weights: np.ndarray
    samples: np.ndarray
    coders: int = field(default_factory=available)
    devices: Devices = field(default_factory=cpu_only)

    @property
    def layout(self) -> Layout:
        """Sizes of the model's parameter tensors."""
        return self.model.layout

    def cohort(self, number: int) -> np.ndarray:
        """Return the clients of round `number`, int64, ascending."""
        data = self.config.data
        return draw_cohort(self.config.algorithm.seed, number, data.clients, data.cohort)

    def uplink_reference(self, reference: Reference | None) -> Reference | None:
        """Return what a client's message may be coded against, of what both ends hold."""
        return reference if self.config.compression.uplink_reference == "on" else None

    def downlink_reference(self, reference: Reference | None) -> Reference | None:
        """Return what a broadcast may be coded against, of what both ends hold."""
        return reference if self.config.compression.downlink_reference == "on" else None

    def plan(self, number: int, speeds: np.ndarray | None = None) -> RoundPlan:
        """Derive round `number` from the seed, and who runs whom from the ranks' `speeds` as the server sent them."""
        training, data = self.config.algorithm, self.config.data
        steps = local_steps(training.seed, number, training.p, training.local_steps)
        cohort = self.cohort(number)
        work = step_work(self.samples[cohort], training.batch_size)
        weights = self.weights[cohort]
        return RoundPlan(
            Round(
                number=number,
                local_steps=steps,
                stepsize=stepsize(
                    training.lr_schedule,
                    training.lr,
                    number,
                    training.lr_decay_rounds,
                    training.lr_decay_factor,
                ),
                probability=1.0 / steps if training.local_steps == "fixed" else training.p,
                clients=data.clients,
                cohort=data.cohort,
                weight=float(weights.sum()),
                server_step=training.server_step,
            ),
            cohort,
            weights,
            work,
            assign(
                cohort,
                self.world.node_of,
                work,
                None if self.config.runtime.deterministic else speeds,
                self.world.homes,
            ),
        )


def client_weights(config: Config, data: TrainingData) -> np.ndarray:
    """Return every client's weight in the mean, float64 [n], 1 on average."""
    if config.algorithm.weighting == "plain":
        return np.ones(config.data.clients)
    samples = np.array([len(positions) for positions in data.partition], dtype=np.float64)
    weights: np.ndarray = samples * (config.data.clients / samples.sum())
    return weights


def pick_references(
    numbers: Sequence[int | None], broadcast: Sequence[Reference]
) -> tuple[Reference | None, ...]:
    """Return what each travelling vector is coded against; see `Algorithm.uplink_references`.

    broadcast: a Reference for each vector of the last one, made once, since what it derives is computed once.
    """
    return tuple(None if number is None else broadcast[number] for number in numbers)
