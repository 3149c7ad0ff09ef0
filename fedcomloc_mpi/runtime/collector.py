"""The server's half of the uplink: messages are added up in client order, whatever order they come in."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fedcomloc_mpi.metrics import Stopwatch
from fedcomloc_mpi.runtime.setup import RoundPlan, Setup, pick_references
from fedcomloc_mpi.transport.exchange import Arrival
from fedcomloc_mpi.transport.report import RankReport
from fedcomloc_mpi.wire import Reference, coders_of, decode_add


class Diverged(Exception):
    """The round in flight holds NaN or an infinity."""


@dataclass(frozen=True)
class Collected:
    """What came up in a round.

    reports: in the order of ranks. train_loss: mean over the cohort of the mean minibatch loss. payload: bytes of the
    messages. coders: by name, how many of the messages each coder has written a part of.
    """

    reports: list[RankReport]
    train_loss: float
    payload: int
    coders: Counter[str]


class Collector:
    """Decodes the uploads of a round into their weighted sum.

    A message is decoded as soon as those of all clients before it have been; one that comes earlier is held as it came.
    So sums do not depend on who is first, and the server decodes while others still compute.
    """

    def __init__(self, setup: Setup, watch: Stopwatch, total: Tensor) -> None:
        """`total`, float64 [vectors, d], receives the weighted sum of the uploads."""
        self._setup, self._watch, self._total = setup, watch, total
        self._sums = [vector.numpy() for vector in total]

    def collect(self, plan: RoundPlan, arrivals: Iterable[Arrival], held: Sequence[Reference]) -> Collected:
        """Take all arrivals of a round; raise Diverged, once all have come, if a loss or a model is not finite.

        held: a Reference for each vector of the last broadcast.
        """
        references = pick_references(self._setup.algorithm.uplink_references, held)
        with self._watch.part("aggregate"):
            self._total.zero_()
        reports: dict[int, RankReport] = {}
        early: dict[int, list[np.ndarray]] = {}
        coders: Counter[str] = Counter()
        following, payload, finite = 0, 0, True
        with self._watch.part("wait"):
            for arrival in arrivals:
                reports[arrival.rank] = arrival.report
                finite = finite and bool((arrival.report.lengths > 0).all())
                early |= zip(plan.assignment.positions[arrival.rank], arrival.messages, strict=True)
                with self._watch.part("decode"):
                    while finite and following in early:
                        weight = float(plan.weights[following])
                        messages = early.pop(following)
                        payload += self._add(messages, references, weight)
                        coders.update(name for message in messages for name in coders_of(message))
                        following += 1
        in_order = [reports[rank] for rank in sorted(reports)]
        loss = _train_loss(plan, in_order)
        if not finite:
            raise Diverged(f"the model of a client in round {plan.round.number}")
        return Collected(in_order, loss, payload, coders)

    def _add(self, messages: list[np.ndarray], references: Sequence[Reference | None], weight: float) -> int:
        for total, message, reference in zip(self._sums, messages, references, strict=True):
            decode_add(message, self._setup.layout, reference, total, weight)
        return sum(message.size for message in messages)


def _train_loss(plan: RoundPlan, reports: list[RankReport]) -> float:
    """Return the mean over the cohort, added up in client order; raise Diverged."""
    losses = np.empty(len(plan.cohort))
    losses[plan.assignment.arrival_order] = np.concatenate([report.losses for report in reports])
    for client, loss in zip(plan.cohort.tolist(), losses.tolist(), strict=True):
        if not math.isfinite(loss):
            raise Diverged(f"the training loss of client {client} in round {plan.round.number}")
    return math.fsum(losses.tolist()) / len(losses)
