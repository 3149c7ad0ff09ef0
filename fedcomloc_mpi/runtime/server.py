"""The round loop of the server: collect, average, broadcast, evaluate, record."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fedcomloc_mpi.compressors import Compressed, Compressor, Identity
from fedcomloc_mpi.errors import NonFiniteError
from fedcomloc_mpi.metrics import Progress, RoundRecord, RoundWriter, Status, Stopwatch, Summary, over_ranks
from fedcomloc_mpi.randomness import Purpose, key
from fedcomloc_mpi.runtime.accounting import Accounting
from fedcomloc_mpi.runtime.client import REPORTED_PARTS
from fedcomloc_mpi.runtime.evaluate import Evaluator
from fedcomloc_mpi.runtime.lattice import on_lattice, without_lattice
from fedcomloc_mpi.runtime.setup import RoundPlan, Setup, pick_references
from fedcomloc_mpi.runtime.signals import SignalWatch
from fedcomloc_mpi.transport.collectives import CollectiveExchange, Command, RankReport
from fedcomloc_mpi.wire import Reference, coders_of, decode_add, encode


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


class Diverged(Exception):
    """The round in flight holds NaN or an infinity."""


class Server:
    """Rank 0's part of every round; its time splits into metrics.stopwatch.SERVER_PARTS."""

    def __init__(
        self,
        setup: Setup,
        exchange: CollectiveExchange,
        evaluate: Evaluator,
        writer: RoundWriter,
        progress: Progress,
        summary: Summary,
        watch: Stopwatch,
        signals: SignalWatch,
    ) -> None:
        self._setup, self._exchange, self._evaluate = setup, exchange, evaluate
        self._writer, self._progress, self._summary = writer, progress, summary
        self._watch, self._signals = watch, signals
        algorithm, size = setup.algorithm, setup.layout.size
        self._before = torch.zeros(algorithm.downlink_vectors, size)
        self._after = torch.zeros(algorithm.downlink_vectors, size)
        self._after[0].copy_(setup.initial)
        self._server_vectors = torch.zeros(algorithm.server_vectors, size, dtype=torch.float64)
        self._sum = torch.zeros(algorithm.uplink_vectors, size, dtype=torch.float64)
        self._control_sum = torch.zeros(size if algorithm.control_vectors else 0, dtype=torch.float64)
        first = encode(Identity(setup.layout).compress(setup.initial.numpy(), 0), None, setup.coders)
        self._accounting = Accounting(setup, first.data.size)
        self._deployed = torch.empty(0)
        self._coders: Counter[str] = Counter()

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

    def run(self) -> Outcome:
        """Run all rounds, or those until the target, a signal or a divergence."""
        rounds = self._setup.config.algorithm.rounds
        self._watch.lap()
        for number in range(1, rounds + 1):
            try:
                status, signal = self._lead(self._setup.plan(number), last=number == rounds)
            except Diverged as reason:
                self._exchange.send_downlink(Command.ABANDON, [])
                return Outcome(Status.DIVERGED, number - 1, reason=f"{reason} is not finite")
            if status is not None:
                return Outcome(status, number, signal)
        raise AssertionError("the last round has a status")

    def _lead(self, plan: RoundPlan, last: bool) -> tuple[Status | None, int]:
        """Run one round; return the status that ends the run after it, and the signal received, or 0."""
        setup, watch, exchange = self._setup, self._watch, self._exchange
        number = plan.round.number
        self._before, self._after = self._after, self._before
        held = [Reference(vector.numpy(), setup.layout) for vector in self._before]
        with watch.part("wait"):
            reports = exchange.receive_reports(plan.assignment.counts)
        with watch.part("receive"):  # also in a round that diverged: the senders are waiting
            arrived = exchange.receive_messages(reports)
        train_loss = self._train_loss(plan, reports)
        by_position = dict(zip(plan.assignment.arrival_order, arrived, strict=True))
        uplink_payload = self._average(plan, by_position, held)
        downlink_payload, model_bytes = self._advance(plan, held)
        signal = self._signals.received or next((report.signal for report in reports if report.signal), 0)
        evaluated: dict[str, float] = {}
        status = Status.FINISHED if last else Status.INTERRUPTED if signal else None
        due = number % setup.config.runtime.eval_every == 0 or status is not None
        target = setup.config.algorithm.target_accuracy
        if due and target is not None:
            # Before the broadcast, so that no client starts a round that nobody wants.
            evaluated = self._evaluate_models()
            if evaluated["test_accuracy"] >= target:
                status = Status.TARGET
        with watch.part("broadcast"):
            exchange.send_downlink(Command.CONTINUE if status is None else Command.FINISH, downlink_payload)
        if due and not evaluated:
            evaluated = self._evaluate_models()
        uplink, downlink = self._accounting.close_round(
            plan,
            uplink_payload,
            sum(vector.size for vector in downlink_payload),
            model_bytes,
            exchange.meter.take(),
        )
        downlink_coders = Counter(name for vector in downlink_payload for name in coders_of(vector))
        record = RoundRecord(
            round=number,
            local_steps=plan.round.local_steps,
            cohort=plan.cohort.tolist(),
            train_loss=train_loss,
            control_sum_norm=float(self._control_sum.norm()) if self._control_sum.numel() else None,
            uplink=replace(uplink, coders=self._coders),
            downlink=replace(downlink, coders=downlink_coders),
            client_seconds=over_ranks(
                dict(zip(REPORTED_PARTS, report.seconds.tolist(), strict=True)) for report in reports
            ),
            server_seconds=watch.lap(),
            **evaluated,
        )
        self._writer.write(record)
        self._summary.add(record)
        self._progress.update(record)
        return status, signal

    def _train_loss(self, plan: RoundPlan, reports: list[RankReport]) -> float:
        """Return the mean over the cohort, in client order, of the mean minibatch loss; raise Diverged."""
        losses = np.empty(len(plan.cohort))
        losses[plan.assignment.arrival_order] = np.concatenate([report.losses for report in reports])
        for client, loss in zip(plan.cohort.tolist(), losses.tolist(), strict=True):
            if not math.isfinite(loss):
                raise Diverged(f"the training loss of client {client} in round {plan.round.number}")
        for report in reports:
            if (report.lengths == 0).any():
                raise Diverged(f"the model of a client in round {plan.round.number}")
        return math.fsum(losses.tolist()) / len(losses)

    def _average(
        self, plan: RoundPlan, messages: dict[int, list[np.ndarray]], held: Sequence[Reference]
    ) -> int:
        """Decode the uploads into their mean, in client order; return their bytes."""
        payload, layout = 0, self._setup.layout
        self._coders = Counter()
        references = pick_references(self._setup.algorithm.uplink_references, held)
        with self._watch.part("aggregate"):
            self._sum.zero_()
        with self._watch.part("decode"):
            for position, weight in enumerate(plan.weights.tolist()):
                vectors = zip(self._sum, messages[position], references, strict=True)
                for total, message, reference in vectors:
                    decode_add(message, layout, reference, total.numpy(), weight)
                    payload += message.size
                    self._coders.update(coders_of(message))
        with self._watch.part("aggregate"):
            self._sum.div_(plan.round.weight)
            if not math.isfinite(self._sum.sum().item()):
                raise Diverged(f"the mean of the models in round {plan.round.number}")
        return payload

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
        with self._watch.part("aggregate"):
            if self._control_sum.numel():
                algorithm.add_to_control_sum(plan.round, mean, before, broadcast, self._control_sum)
            algorithm.step_server(plan.round, before, broadcast)
        if plan.round.server_step != 1.0:  # the model is not what travelled
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

    def _evaluate_models(self) -> dict[str, float]:
        """Return the test figures of x, and the accuracy of C(x) where there is a compressor."""
        with self._watch.part("evaluate"):
            loss, accuracy = self._evaluate(self.model)
            figures = {"test_loss": loss, "test_accuracy": accuracy}
            deployed = self.deployed_model()
            if deployed is not None:
                figures["test_accuracy_compressed"] = self._evaluate(deployed)[1]
            return figures
