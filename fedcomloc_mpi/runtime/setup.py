"""What every rank knows before the first round."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fedcomloc_mpi.algorithms import Algorithm, Round
from fedcomloc_mpi.compressors import Compressor
from fedcomloc_mpi.config import Config
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.models.flat import FlatModel
from fedcomloc_mpi.runtime.balance import step_work
from fedcomloc_mpi.runtime.schedule import Assignment, assign, draw_cohort, local_steps
from fedcomloc_mpi.transport.world import World


@dataclass(frozen=True)
class RoundPlan:
    """One round as all ranks derive it.

    cohort: int64 [m], ascending; assignment: who runs whom; work: int64 [m], what a local step of each client costs.
    """

    round: Round
    cohort: np.ndarray
    assignment: Assignment
    work: np.ndarray


@dataclass(frozen=True)
class Setup:
    """The parts of a job that are equal on every rank.

    uplink, downlink: the compressors of the two directions (the identity where nothing is lossy). deployed: C, the
    compressor of the model that a user would deploy; None for a method without one. initial: x_0, float32 [d].
    samples: int64 [clients], how many each client has.
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
    samples: np.ndarray

    @property
    def layout(self) -> Layout:
        """Sizes of the model's parameter tensors."""
        return self.model.layout

    def cohort(self, number: int) -> np.ndarray:
        """Return the clients of round `number`, int64, ascending."""
        data = self.config.data
        return draw_cohort(self.config.algorithm.seed, number, data.clients, data.cohort)

    def plan(self, number: int, speeds: np.ndarray | None = None) -> RoundPlan:
        """Derive round `number` from the seed, and who runs whom from the ranks' `speeds` as the server sent them."""
        training, data = self.config.algorithm, self.config.data
        steps = local_steps(training.seed, number, training.p, training.local_steps)
        cohort = self.cohort(number)
        work = step_work(self.samples[cohort], training.batch_size)
        return RoundPlan(
            Round(
                number=number,
                local_steps=steps,
                stepsize=training.lr,
                probability=1.0 / steps if training.local_steps == "fixed" else training.p,
                clients=data.clients,
                cohort=data.cohort,
            ),
            cohort,
            assign(cohort, self.world.node_of, work, speeds),
            work,
        )
