"""The round loop of a client rank, which runs several virtual clients, one after the other or in batches."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fedcomloc_mpi.algorithms import Vectors
from fedcomloc_mpi.compressors import Compressed
from fedcomloc_mpi.errors import NonFiniteError
from fedcomloc_mpi.metrics.stopwatch import CLIENT_PARTS, OTHER, Stopwatch
from fedcomloc_mpi.randomness import Purpose, key
from fedcomloc_mpi.runtime.batched_clients import BatchedClients
from fedcomloc_mpi.runtime.checkpoint.saver import NodeSaver
from fedcomloc_mpi.runtime.client_state import ClientState
from fedcomloc_mpi.runtime.local_problem import LocalProblem
from fedcomloc_mpi.runtime.schedule import committing
from fedcomloc_mpi.runtime.setup import RoundPlan, Setup, pick_references
from fedcomloc_mpi.runtime.signals import SignalWatch
from fedcomloc_mpi.runtime.start import Start
from fedcomloc_mpi.transport.exchange import Command, Exchange
from fedcomloc_mpi.transport.report import NOTHING_SAVED, RankReport
from fedcomloc_mpi.transport.watchdog import Watchdog
from fedcomloc_mpi.wire import Reference, decode_reference, encode

REPORTED_PARTS = (*CLIENT_PARTS, OTHER)


class ClientRank:
    """Runs the members of every cohort that are assigned to this rank.

    inputs: float32 [N, ...], labels: int64 [N], the training set; partition: for every client its samples' positions,
    int64. Parts of time between two reports: wait, decode and update belong to the broadcast that ended the round
    before, compute, select and encode to the round that is reported.
    """

    def __init__(
        self,
        setup: Setup,
        exchange: Exchange,
        state: ClientState,
        inputs: Tensor,
        labels: Tensor,
        partition: Sequence[np.ndarray],
        watch: Stopwatch,
        signals: SignalWatch,
        watchdog: Watchdog,
        saver: NodeSaver,
        start: Start,
        batches: BatchedClients | None = None,
    ) -> None:
        """`batches`: what trains several clients at once, or on a GPU; None: one after the other, on the CPU."""
        self._setup, self._exchange, self._state = setup, exchange, state
        self._inputs, self._labels, self._partition = inputs, labels, partition
        self._watch, self._signals, self._watchdog, self._saver = watch, signals, watchdog, saver
        self._start, self._batches = start, batches
        self._before = torch.from_numpy(start.broadcast.copy())
        self._after = torch.zeros_like(self._before)
        self._held = [Reference(vector.numpy(), setup.layout) for vector in self._before]
        self._compressed_model = torch.empty(0)
        self._saved = NOTHING_SAVED

    def run(self) -> tuple[int, int, int]:
        """Take part in the rounds that remain, at least one, until the server says that the last one is done.

        Returns what this rank has saved after the last round, see `NodeSaver`.
        """
        self._watch.lap()
        plan: RoundPlan | None = self._setup.plan(self._start.round + 1)
        while plan is not None:
            plan = self._take_part(plan)
        return self._saved

    def _take_part(self, plan: RoundPlan) -> RoundPlan | None:
        """Run one round; return the next one, or None if none follows."""
        setup, watch = self._setup, self._watch
        self._watchdog.begin_round(plan.round.local_steps)
        mine = plan.assignment.positions[setup.world.rank]
        held = self._held
        references = pick_references(setup.algorithm.uplink_references, held)
        losses = np.zeros(len(mine))
        lengths = np.zeros((len(mine), setup.algorithm.uplink_vectors), dtype=np.int64)
        messages: list[np.ndarray] = []
        # First all train, then all encode: what the training drives out of the caches comes back once a round.
        for slot, upload in enumerate(self._train_all(plan, references, losses)):
            if upload is None:
                continue  # its lengths stay 0: the server ends the run
            try:
                encoded = self._encode(plan, int(plan.cohort[mine[slot]]), *upload, references)
            except NonFiniteError:
                continue
            lengths[slot] = [message.size for message in encoded]
            messages.extend(encoded)
        seconds = watch.lap()
        report = RankReport(
            self._signals.received,
            np.array([seconds[part] for part in REPORTED_PARTS]),
            losses,
            lengths,
            self._saved,
        )
        with watch.part("wait"):
            self._exchange.send_uplink(report, messages)
            downlink = self._exchange.receive_downlink()
        self._watchdog.end_round(sum(seconds.values()))
        if downlink.command is Command.ABANDON:
            return None
        with watch.part("decode"):
            references = pick_references(setup.algorithm.downlink_references, held)
            self._held = [
                decode_reference(message, setup.layout, reference, vector.numpy())
                for vector, message, reference in zip(self._after, downlink.vectors, references, strict=True)
            ]
        following = None
        if downlink.command is Command.CONTINUE:
            following = setup.plan(plan.round.number + 1, downlink.speeds)
        with watch.part("update"):
            self._commit(plan, following)
            setup.algorithm.step_server(plan.round, tuple(self._before), tuple(self._after))
            if plan.round.server_step != 1.0:  # the model is not what travelled
                self._held[0] = Reference(self._after[0].numpy(), setup.layout)
        self._before, self._after = self._after, self._before
        self._saved = self._saver.after_commit(plan, final=following is None)
        return following

    def _commit(self, plan: RoundPlan, following: RoundPlan | None) -> None:
        """Update the control variates of the cohort's members that fall to this rank, with the broadcast received."""
        commits = plan.assignment
        if following is not None:
            commits = committing(plan.cohort, commits, following.cohort, following.assignment)
        before, after = tuple(self._before), tuple(self._after)
        for position in commits.positions[self._setup.world.rank]:
            upload = self._state.upload(plan.round.number, position)
            control = self._state.of(int(plan.cohort[position]))
            self._setup.algorithm.commit(plan.round, before, after, upload, control)

    def _train_all(
        self, plan: RoundPlan, references: Sequence[Reference | None], losses: np.ndarray
    ) -> list[tuple[Vectors, Sequence[Compressed] | None] | None]:
        """Run the local steps of this rank's clients; write their mean minibatch losses into `losses`.

        Returns for each client what travels, and that compressed where it is already; None where it is not finite.
        """
        mine = plan.assignment.positions[self._setup.world.rank]
        uploads = [self._state.upload(plan.round.number, position) for position in mine]
        if self._batches is None:
            finite = [True] * len(mine)
            for slot, position in enumerate(mine):
                try:
                    losses[slot] = self._train(plan, int(plan.cohort[position]), uploads[slot])
                except NonFiniteError:
                    finite[slot] = False
            return [(upload, None) if fine else None for upload, fine in zip(uploads, finite, strict=True)]
        adapted = [None if reference is None else reference.vector for reference in references]
        compressed = self._batches.train(plan, self._before, adapted, losses, self._watch)
        if compressed is None:
            return [(upload, None) for upload in uploads]
        return [
            None if ready is None else (upload, ready)
            for upload, ready in zip(uploads, compressed, strict=True)
        ]

    def _train(self, plan: RoundPlan, client: int, upload: Vectors) -> float:
        """Run a client's local steps; leave what travels in `upload` and return the mean minibatch loss."""
        setup, training = self._setup, self._setup.config.algorithm
        with self._watch.part("compute"):
            problem = LocalProblem(
                setup.model,
                setup.loss,
                self._inputs,
                self._labels,
                self._partition[client],
                training.batch_size,
                training.seed,
                plan.round.number,
                client,
                lambda model, step: self._compress_model(model, client, plan.round.number, step),
                weight_decay=training.weight_decay,
                clip_norm=training.clip_norm,
            )
            setup.algorithm.local(plan.round, tuple(self._before), self._state.of(client), problem, upload)
            return problem.mean_loss

    def _encode(
        self,
        plan: RoundPlan,
        client: int,
        upload: Vectors,
        ready: Sequence[Compressed] | None,
        references: Sequence[Reference | None],
    ) -> list[np.ndarray]:
        """Compress, unless it is `ready`, and encode a client's upload; it then holds what the server will decode."""
        setup, encoded = self._setup, []
        for position, (vector, reference) in enumerate(zip(upload, references, strict=True)):
            entries, held = vector.numpy(), None if reference is None else reference.vector
            with self._watch.part("select"):
                stream = key(
                    setup.config.algorithm.seed, Purpose.COMPRESS_UPLINK, plan.round.number, client, position
                )
                compressed = (
                    setup.uplink.compress(entries, stream, held) if ready is None else ready[position]
                )
                if ready is not None or not setup.uplink.lossless:
                    compressed.write_to(entries)
            with self._watch.part("encode"):
                known = setup.uplink_reference(reference)
                encoded.append(encode(compressed, known, setup.coders).data)
        return encoded

    def _compress_model(self, model: Tensor, client: int, round: int, step: int) -> Tensor:
        """Return C(model), for methods that take gradients at the compressed model; overwritten by the next call."""
        deployed = self._setup.deployed
        if deployed is None:
            return model
        if not self._compressed_model.numel():
            self._compressed_model = torch.empty_like(model)
        stream = key(self._setup.config.algorithm.seed, Purpose.COMPRESS_LOCAL_MODEL, round, client, step)
        with self._watch.part("select"):
            compressed = deployed.compress(model.numpy(), stream, self._before[0].numpy())
            compressed.write_to(self._compressed_model.numpy())
        return self._compressed_model
