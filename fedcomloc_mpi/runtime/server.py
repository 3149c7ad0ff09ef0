"""The round loop of the server: collect, average, broadcast, evaluate, record."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from fedcomloc_mpi.compressors import Compressed, Compressor, Identity
from fedcomloc_mpi.errors import NonFiniteError
from fedcomloc_mpi.metrics import (
    EventWriter,
    Progress,
    RoundRecord,
    RoundWriter,
    Status,
    Stopwatch,
    Summary,
    over_ranks,
)
from fedcomloc_mpi.randomness import Purpose, key
from fedcomloc_mpi.runtime.accounting import Accounting
from fedcomloc_mpi.runtime.balance import SpeedMeter
from fedcomloc_mpi.runtime.checkpoint.saver import Saver, is_due
from fedcomloc_mpi.runtime.checkpoint.server_state import ServerState
from fedcomloc_mpi.runtime.client import REPORTED_PARTS
from fedcomloc_mpi.runtime.collector import Collected, Collector, Diverged
from fedcomloc_mpi.runtime.evaluate import Evaluator
from fedcomloc_mpi.runtime.lattice import on_lattice, without_lattice
from fedcomloc_mpi.runtime.recovery import Survivor
from fedcomloc_mpi.runtime.setup import RoundPlan, Setup, pick_references
from fedcomloc_mpi.runtime.signals import SignalWatch
from fedcomloc_mpi.runtime.start import Start
from fedcomloc_mpi.transport.exchange import Command, Downlink, Exchange
from fedcomloc_mpi.transport.report import RankReport
from fedcomloc_mpi.transport.survival import LostRank
from fedcomloc_mpi.transport.watchdog import Watchdog
from fedcomloc_mpi.wire import Reference, coders_of, encode


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    rounds: rounds completed. signal: the number of the signal that interrupted it, or 0. reason: what was not finite in
    a diverged run, else empty.
    """

    status: Status
    rounds: int
    signal: int = 0
    reason: str = ""


class Server:
    """Rank 0's part of every round; its time splits into metrics.stopwatch.SERVER_PARTS."""

    def __init__(
        self,
        setup: Setup,
        exchange: Exchange,
        evaluate: Evaluator,
        writers: Sequence[RoundWriter | EventWriter],
        progress: Progress,
        summary: Summary,
        watch: Stopwatch,
        signals: SignalWatch,
        watchdog: Watchdog,
        saver: Saver,
        start: Start,
        tell_lost: Callable[[list[LostRank], int], object],
    ) -> None:
        """tell_lost: called with ranks that are lost and the round in flight."""
        self._setup, self._exchange, self._evaluate = setup, exchange, evaluate
        self._writers, self._progress, self._summary = writers, progress, summary
        self._watch, self._signals, self._watchdog, self._saver = watch, signals, watchdog, saver
        self._round = start.round
        algorithm, size = setup.algorithm, setup.layout.size
        self._after = torch.from_numpy(start.broadcast.copy())
        self._before = torch.zeros_like(self._after)
        self._held: list[Reference] | list[None] = [None] * len(self._after)
        # What encoding the last broadcast has told of it, for the reference that it becomes.
        self._known: list[tuple[np.ndarray, np.ndarray] | None] = [None] * len(self._after)
        self._server_vectors = torch.zeros(algorithm.server_vectors, size, dtype=torch.float64)
        self._sum = torch.zeros(algorithm.uplink_vectors, size, dtype=torch.float64)
        self._control_sum = torch.zeros(size if algorithm.control_vectors else 0, dtype=torch.float64)
        if start.state is None:
            first = encode(Identity(setup.layout).compress(setup.initial.numpy(), 0), None, setup.coders)
            model_bytes = first.data.size
        else:
            model_bytes = start.state.model_bytes
            self._server_vectors.copy_(torch.from_numpy(start.state.server_vectors))
            self._control_sum.copy_(torch.from_numpy(start.state.control_sum))
        self._accounting = Accounting(setup, start.round, model_bytes)
        self._collector = Collector(setup, watch, self._sum)
        self._speeds = SpeedMeter(setup.world.size)
        self._deployed = torch.empty(0)
        self._survivor, self._tell_lost = Survivor(setup, exchange), tell_lost
        self._sent, self._sent_in = Downlink(Command.CONTINUE, [], self._speeds.speeds), start.round
        self._lost: list[LostRank] = []

    @property
    def model(self) -> Tensor:
        """The model x, float32 [d]."""
        return self._after[0]

    def deployed_model(self) -> Tensor | None:
        """Return C(x), float32 [d], overwritten by the next call; None for a method without a compressor.

        The stream of a random C depends on the seed alone, so that C(x) is a function of x.
        """
        setup = self._setup
        if setup.deployed is None:
            return None
        if not self._deployed.numel():
            self._deployed = torch.empty_like(self.model)
        stream = key(setup.config.algorithm.seed, Purpose.COMPRESS_FOR_EVALUATION)
        entries = self.model.numpy()
        setup.deployed.compress(entries, stream, entries).write_to(self._deployed.numpy())
        return self._deployed

    @property
    def state(self) -> ServerState:
        """What the next round depends on; the arrays are views, and the next round changes them."""
        return ServerState(
            round=self._round,
            broadcast=self._after.numpy(),
            server_vectors=self._server_vectors.numpy(),
            control_sum=self._control_sum.numpy(),
            model_bytes=self._accounting.last_model_bytes,
        )

    def run(self) -> Outcome:
        """Run the rounds that remain, at least one, or those until the target, a signal or a divergence.

        The checkpoint after the last round is begun; it is published once all ranks have ended their part.
        """
        rounds = self._setup.config.algorithm.rounds
        plan = self._setup.plan(self._round + 1)
        self._watch.lap()
        while True:
            number = plan.round.number
            try:
                status, signal = self._lead(plan, last=number == rounds)
            except Diverged as reason:
                self._saver.discard()
                self._send(Downlink(Command.ABANDON, [], self._speeds.speeds), number - 1)
                return Outcome(Status.DIVERGED, number - 1, reason=f"{reason} is not finite")
            if status is not None:
                return Outcome(status, number, signal)
            plan = self._setup.plan(number + 1, self._speeds.speeds)

    def _lead(self, plan: RoundPlan, last: bool) -> tuple[Status | None, int]:
        """Run one round; return the status that ends the run after it, and the signal received, or 0."""
        setup, watch, exchange = self._setup, self._watch, self._exchange
        number = plan.round.number
        self._watchdog.begin_round(plan.round.local_steps)
        self._before, self._after = self._after, self._before
        held = self._held = [
            Reference(vector.numpy(), setup.layout, known, before)
            for vector, known, before in zip(self._before, self._known, self._held, strict=True)
        ]
        plan, collected = self._collect(plan, held)
        reports = collected.reports
        saved_by_others = self._saver.saved_by_others(reports)
        with watch.part("checkpoint"):
            self._saver.write_rest()
        with watch.part("aggregate"):
            self._sum.div_(plan.round.weight)
            if not math.isfinite(self._sum.sum().item()):
                raise Diverged(f"the mean of the models in round {number}")
        downlink_payload, model_bytes = self._advance(plan, held)
        signal = self._signals.received or next((report.signal for report in reports if report.signal), 0)
        evaluated: dict[str, float] = {}
        status = Status.FINISHED if last else Status.INTERRUPTED if signal else None
        # Not after a signal: the run that goes on is to have the records of one that was never interrupted.
        due = number % setup.config.runtime.eval_every == 0 or last
        target = setup.config.algorithm.target_accuracy
        if due and target is not None:
            # Before the broadcast, so that no client starts a round that nobody wants.
            evaluated = self.evaluate_models()
            if evaluated["test_accuracy"] >= target:
                status = Status.TARGET
        self._learn_speeds(plan, reports)
        with watch.part("broadcast"):
            command = Command.CONTINUE if status is None else Command.FINISH
            self._send(Downlink(command, downlink_payload, self._speeds.speeds), number)
        with watch.part("checkpoint"):
            self._saver.publish(saved_by_others)
        if due and not evaluated:
            evaluated = self.evaluate_models()
        uplink, downlink = self._accounting.close_round(
            plan,
            collected.payload,
            sum(vector.size for vector in downlink_payload),
            model_bytes,
            exchange.meter.take(),
        )
        downlink_coders = Counter(name for vector in downlink_payload for name in coders_of(vector))
        server_seconds = watch.lap()
        record = RoundRecord(
            round=number,
            local_steps=plan.round.local_steps,
            cohort=plan.cohort.tolist(),
            train_loss=collected.train_loss,
            control_sum_norm=float(self._control_sum.norm()) if self._control_sum.numel() else None,
            uplink=replace(uplink, coders=collected.coders),
            downlink=replace(downlink, coders=downlink_coders),
            client_seconds=over_ranks(
                dict(zip(REPORTED_PARTS, report.seconds.tolist(), strict=True)) for report in reports
            ),
            server_seconds=server_seconds,
            lost_ranks=tuple(lost.rank for lost in self._lost),
            **evaluated,
        )
        self._lost = []
        for writer in self._writers:
            writer.write(record)
        self._summary.add(record)
        self._progress.update(record)
        self._watchdog.end_round(record.seconds)
        self._round = number
        self._begin_checkpoint(plan, final=status is not None)
        return status, signal

    def _collect(self, plan: RoundPlan, held: Sequence[Reference]) -> tuple[RoundPlan, Collected]:
        """Collect a round's uploads; return what came, and the plan that it came by, another one if ranks were lost."""
        while True:
            try:
                arrivals = self._exchange.arrivals(plan.assignment.counts, self._watch.part("receive"))
                return plan, self._collector.collect(plan, arrivals, held)
            except MPI.Exception as error:
                self.outlive(error)
                plan = self._setup.plan(plan.round.number, self._speeds.speeds)

    def _send(self, downlink: Downlink, round: int) -> None:
        """Send a broadcast to all; `round`: the one that is complete with it."""
        self._sent, self._sent_in = downlink, round
        try:
            self._exchange.send_downlink(downlink)
        except MPI.Exception as error:
            self.outlive(error)

    def outlive(self, error: MPI.Exception) -> None:
        """Go on without the ranks that `error` says are lost; the last broadcast has then arrived at all others."""
        self._survivor.outlive(error, self._settle, self._regrouped)

    def _regrouped(self, kept: list[int], lost: list[LostRank]) -> None:
        self._speeds.keep(kept)
        self._lost += lost
        number = min(self._round + 1, self._setup.config.algorithm.rounds)
        for each in lost:
            self._progress.say(
                f"rank {each.rank} (process {each.process} on {each.host}) is lost in round {number}:"
                f" {self._setup.world.size} ranks go on"
            )
        self._tell_lost(lost, number)

    def _settle(self) -> None:
        self._survivor.last_round(self._sent_in)
        self._exchange.send_downlink(replace(self._sent, speeds=self._speeds.speeds))
        self._survivor.repair(lambda: None)

    @property
    def lost(self) -> list[LostRank]:
        """The ranks lost since the last record."""
        return self._lost

    def leave(self) -> None:
        """Return when all ranks have done their part; raises as `Survivor.leave_together` does."""
        self._survivor.leave_together()

    def _begin_checkpoint(self, plan: RoundPlan, final: bool) -> None:
        """Begin to write the checkpoint of the round that has just been recorded, if one is due."""
        self._saver.note(plan)
        if is_due(plan.round.number, self._setup.config.runtime.checkpoint_every, final):
            with self._watch.part("checkpoint"):
                self._saver.begin(plan, self.state)

    def _learn_speeds(self, plan: RoundPlan, reports: list[RankReport]) -> None:
        compute = REPORTED_PARTS.index("compute")
        work = [int(plan.work[list(positions)].sum()) for positions in plan.assignment.positions]
        self._speeds.add(work, [0.0, *(float(report.seconds[compute]) for report in reports)])

    def _advance(self, plan: RoundPlan, held: Sequence[Reference]) -> tuple[list[np.ndarray], int]:
        """Compute the next broadcast from the mean, and the model that everyone goes on from.

        Returns the broadcast encoded, and the size of what a newcomer needs, coded without a reference.
        """
        setup, algorithm = self._setup, self._setup.algorithm
        mean, before, broadcast = tuple(self._sum), tuple(self._before), tuple(self._after)
        references = pick_references(algorithm.downlink_references, held)
        with self._watch.part("aggregate"):
            algorithm.aggregate(plan.round, mean, tuple(self._server_vectors), before, broadcast)
        encoded, alone = [], []
        with self._watch.part("encode"):
            for position, (vector, reference) in enumerate(zip(broadcast, references, strict=True)):
                stream = key(
                    setup.config.algorithm.seed, Purpose.COMPRESS_DOWNLINK, plan.round.number, 0, position
                )
                compressed = self._compress(setup.downlink, vector, stream, reference)
                known = setup.downlink_reference(reference)
                if setup.downlink.lossless:
                    compressed = on_lattice(setup, compressed, plan.round.cohort, known)
                else:
                    compressed.write_to(vector.numpy())
                message = encode(compressed, known, setup.coders)
                encoded.append(message.data)
                if not message.self_contained:
                    message = encode(without_lattice(compressed), None, setup.coders)
                alone.append(message.data.size)
                self._known[position] = _support_of(compressed)
        with self._watch.part("aggregate"):
            if self._control_sum.numel():
                algorithm.add_to_control_sum(plan.round, mean, before, broadcast, self._control_sum)
            algorithm.step_server(plan.round, before, broadcast)
        if plan.round.server_step != 1.0:  # the model is not what travelled
            self._known[0] = None
            with self._watch.part("encode"):
                stepped = self._compress(Identity(setup.layout), broadcast[0], 0, None)
                alone[0] = encode(stepped, None, setup.coders).data.size
        return encoded, sum(alone)

    def _compress(
        self, compressor: Compressor, vector: Tensor, stream: int, reference: Reference | None
    ) -> Compressed:
        """Compress a vector of the broadcast; raise Diverged if it is not finite."""
        try:
            return compressor.compress(
                vector.numpy(), stream, None if reference is None else reference.vector
            )
        except NonFiniteError as error:
            raise Diverged("the new model") from error

    def evaluate_models(self) -> dict[str, float]:
        """Return the test figures of x, and the accuracy of C(x) where there is a compressor."""
        with self._watch.part("evaluate"):
            loss, accuracy = self._evaluate(self.model)
            figures = {"test_loss": loss, "test_accuracy": accuracy}
            deployed = self.deployed_model()
            if deployed is not None:
                figures["test_accuracy_compressed"] = self._evaluate(deployed)[1]
            return figures


def _support_of(broadcast: Compressed) -> tuple[np.ndarray, np.ndarray] | None:
    """Return a Reference's `known` of a broadcast that is encoded; None where that does not tell."""
    if broadcast.mask is not None or broadcast.levels is not None:
        return None
    if broadcast.nonzero_values.size == broadcast.count:  # nothing to be spared, and a copy to be kept
        return None
    return broadcast.nonzero_mask, broadcast.nonzero_values
