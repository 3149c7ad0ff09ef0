"""What every rank knows before the first round."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from fedcomloc_mpi.algorithms import Algorithm, Round
from fedcomloc_mpi.compressors import Compressor
from fedcomloc_mpi.config import Config
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.models.flat import FlatModel
from fedcomloc_mpi.runtime.schedule import Assignment, assign, draw_cohort, local_steps
from fedcomloc_mpi.transport.world import World
from fedcomloc_mpi.wire import Reference, available


@dataclass(frozen=True)
class RoundPlan:
    """One round as all ranks derive it: its numbers, its cohort (int64 [m], ascending) and who runs whom."""

    round: Round
    cohort: np.ndarray
    assignment: Assignment


@dataclass(frozen=True)
class Setup:
    """The parts of a job that are equal on every rank.

    uplink, downlink: the compressors of the two directions (the identity where nothing is lossy). deployed: C, the
    compressor of the model that a user would deploy; None for a method without one. initial: x_0, float32 [d].
    coders: the set that every rank's messages are written with (`wire.available`).
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
    coders: int = field(default_factory=available)

    @property
    def layout(self) -> Layout:
        """Sizes of the model's parameter tensors."""
        return self.model.layout

    def uplink_reference(self, reference: Reference | None) -> Reference | None:
        """Return what a client's message may be coded against, of what both ends hold."""
        return reference if self.config.compression.uplink_reference == "on" else None

    def downlink_reference(self, reference: Reference | None) -> Reference | None:
        """Return what a broadcast may be coded against, of what both ends hold."""
        return reference if self.config.compression.downlink_reference == "on" else None

    def plan(self, number: int) -> RoundPlan:
        """Derive round `number` from the seed, without communication."""
        training, data = self.config.algorithm, self.config.data
        steps = local_steps(training.seed, number, training.p, training.local_steps)
        cohort = draw_cohort(training.seed, number, data.clients, data.cohort)
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
            assign(cohort, self.world.node_of),
        )
