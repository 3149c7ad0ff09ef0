"""The round loop of a client rank, which runs several virtual clients, one after the other or in batches."""

from collections.abc import Sequence

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from fedcomloc_mpi.algorithms import Vectors
from fedcomloc_mpi.compressors import Compressed
from fedcomloc_mpi.errors import NonFiniteError
from fedcomloc_mpi.metrics.stopwatch import CLIENT_PARTS, OTHER, Stopwatch
from fedcomloc_mpi.randomness import Purpose, key
from fedcomloc_mpi.runtime.batched_clients import BatchedClients
from fedcomloc_mpi.runtime.checkpoint.saver import NodeSaver, clients_of
from fedcomloc_mpi.runtime.client_state import ClientState
from fedcomloc_mpi.runtime.local_problem import LocalProblem
from fedcomloc_mpi.runtime.recovery import Survivor
from fedcomloc_mpi.runtime.schedule import committing
from fedcomloc_mpi.runtime.setup import RoundPlan, Setup, pick_references
from fedcomloc_mpi.runtime.signals import SignalWatch
from fedcomloc_mpi.runtime.start import Start
from fedcomloc_mpi.transport.exchange import Command, Downlink, Exchange
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
        self._round = start.round  # the last one whose broadcast has been taken in
        self._survivor = Survivor(setup, exchange)

    @property
    def saved(self) -> tuple[int, int, int]:
        """What this rank has saved after the last round, see `NodeSaver`."""
        return self._saved

    def run(self) -> None:
        """Take part in the rounds that remain, at least one, until the server says that the last one is done."""
        self._watch.lap()
        plan: RoundPlan | None = self._setup.plan(self._start.round + 1)
        while plan is not None:
            try:
                plan = self._take_part(plan)
            except MPI.Exception as error:
                plan = self.outlive(error)

    def outlive(self, error: MPI.Exception) -> RoundPlan | None:
        """Go on without the ranks that `error` says are lost; return the round to begin, None if none follows."""
        following: list[RoundPlan | None] = []
        self._survivor.outlive(error, lambda: following.append(self._settle()))
        return following[-1]

    def leave(self) -> None:
        """Return when all ranks have done their part; raises as `Survivor.leave_together` does."""
        self._survivor.leave_together()

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
        following = self._following(plan.round.number, downlink)
        commits = plan.assignment
        if following is not None:
            commits = committing(plan.cohort, commits, following.cohort, following.assignment)
        self._decode(downlink)
        with watch.part("update"):
            self._commit(plan, commits.positions[setup.world.rank])
            self._step(plan)
        self._saved = self._saver.after_commit(plan, final=following is None)
        return following

    def _following(self, number: int, downlink: Downlink) -> RoundPlan | None:
        """Return the round after `number` as a broadcast says, None if none follows."""
        if downlink.command is not Command.CONTINUE:
            return None
        return self._setup.plan(number + 1, downlink.speeds)

    def _decode(self, downlink: Downlink) -> None:
        """Decode a broadcast into `_after`, against `_held`, which then is it."""
        with self._watch.part("decode"):
            layout = self._setup.layout
            references = pick_references(self._setup.algorithm.downlink_references, self._held)
            self._held = [
                decode_reference(message, layout, reference, vector.numpy())
                for vector, message, reference in zip(self._after, downlink.vectors, references, strict=True)
            ]

    def _commit(self, plan: RoundPlan, positions: Sequence[int]) -> None:
        """Update the control variates of some of the cohort's members with the broadcast received."""
        before, after = tuple(self._before), tuple(self._after)

        def update(upload: Vectors, control: Vectors) -> None:
            self._setup.algorithm.commit(plan.round, before, after, upload, control)

        for position in positions:
            self._state.commit(plan.round.number, position, int(plan.cohort[position]), update)

    def _step(self, plan: RoundPlan) -> None:
        """Make what was received what the next round starts from."""
        self._setup.algorithm.step_server(plan.round, tuple(self._before), tuple(self._after))
        if plan.round.server_step != 1.0:  # the model is not what travelled
            self._held[0] = Reference(self._after[0].numpy(), self._setup.layout)
        self._before, self._after = self._after, self._before
        self._round = plan.round.number

    def _settle(self) -> RoundPlan | None:
        """Take in the server's last broadcast, again if it is known, and complete what dead ranks have left undone.

        Returns the round to begin, None if none follows.
        """
        setup, number = self._setup, self._survivor.last_round(0)
        downlink = self._exchange.receive_downlink()
        following = self._following(number, downlink)
        if not any(
            vector.size for vector in downlink.vectors
        ):  # no round has ended yet, or the last one is dropped
            self._survivor.repair(lambda: None)
            return following
        plan = setup.plan(number, downlink.speeds)
        if self._round == number:
            self._before, self._after = self._after, self._before
            self._round = number - 1
        self._held = [Reference(vector.numpy(), setup.layout) for vector in self._before]
        self._decode(downlink)
        wanted = clients_of(plan, setup.world, setup.world.node_of[setup.world.rank])
        positions = [position for position, client in enumerate(plan.cohort.tolist()) if client in wanted]
        self._survivor.repair(lambda: self._commit(plan, positions))
        self._step(plan)
        self._saved = self._saver.write_again(plan, final=following is None)
        return following

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
