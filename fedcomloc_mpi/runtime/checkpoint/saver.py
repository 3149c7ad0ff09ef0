"""Writing checkpoints while the clients go on.

The checkpoint of round r is written in four steps, so that nobody waits for more than the rows of one cohort and none
of those is read while its client changes it:

    after the broadcast of round r    begin: the server's state, and all rows that round r did not change
    all reports of round r + 1 in     write_rest: every client of round r has been committed, for a rank commits before
                                      it computes; nothing changes until the next broadcast
    after the next broadcast          publish: sync, give the files their names, the state file last
    a round that diverges             discard

On a node without the server its lowest rank writes the rows of the node's clients, between its commits and its next
round, and reports the file.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from mpi4py import MPI

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.runtime.checkpoint.container import FileRef
from fedcomloc_mpi.runtime.checkpoint.names import rows_name
from fedcomloc_mpi.runtime.checkpoint.retention import Retention
from fedcomloc_mpi.runtime.checkpoint.row_chain import RowChain
from fedcomloc_mpi.runtime.checkpoint.server_state import ServerState, StateWriter
from fedcomloc_mpi.runtime.client_state import ClientState
from fedcomloc_mpi.runtime.schedule import home_node
from fedcomloc_mpi.runtime.setup import RoundPlan, Setup
from fedcomloc_mpi.transport.report import NOTHING_SAVED, RankReport
from fedcomloc_mpi.transport.wait import wait_all
from fedcomloc_mpi.transport.world import SERVER, World
from fedcomloc_mpi.wire import names


def is_due(number: int, every: int, final: bool) -> bool:
    """Whether a checkpoint is written after a round: every `every` rounds (0: none), and after the last."""
    return final or (every > 0 and number % every == 0)


def job_shape(setup: Setup) -> dict[str, object]:
    """Return what a job must have in common with the one whose checkpoint it goes on from."""
    algorithm = setup.algorithm
    return {
        "clients": setup.config.data.clients,
        "layers": list(setup.layout.sizes),
        "client vectors": algorithm.control_vectors,
        "server vectors": algorithm.server_vectors,
        "broadcast vectors": algorithm.downlink_vectors,
    }


class Saver:
    """The server's part. Rounds are noted, in order, with `note`."""

    def __init__(
        self, folder: Path, setup: Setup, state: ClientState, records: Path, held: Iterable[int]
    ) -> None:
        """records: rounds.jsonl. held: clients of this node that took part before."""
        self._folder, self._setup, self._records = folder, setup, records
        self._world = setup.world
        self._here = self._world.node_of[SERVER]
        self._chain = RowChain(folder, self._here, state, held)
        self._chains: dict[int, tuple[FileRef, ...]] = {}
        self._retention = Retention(folder, setup.config.runtime.keep_checkpoints)
        self._records_saved = 0
        self._is_base = True
        self._pending: StateWriter | None = None
        self._round = 0

    def note(self, plan: RoundPlan) -> None:
        """Remember that a round changes the rows of its clients."""
        self._chain.note(clients_of(plan, self._world, self._here))

    def save_start(self, state: ServerState) -> None:
        """Write the checkpoint of a run that has not begun."""
        self._state_writer(state).finish({})
        self._retention.add(state.round, {})

    def begin(self, plan: RoundPlan, state: ServerState) -> None:
        """Begin the checkpoint of a round, while its clients may still be changing their rows.

        The arrays of `state` are written at once.
        """
        self._round = state.round
        self._pending = self._state_writer(state)
        self._is_base = self._chain.begin(state.round)
        if self._is_base:
            self._records_saved = 0
        self._chain.write(excepted=clients_of(plan, self._world, self._here))

    def write_rest(self) -> None:
        """Write the rows that the round itself has changed, all of which are committed."""
        if self._pending is not None:
            self._chain.write()

    def publish(self, saved: Mapping[int, tuple[int, int, int]]) -> None:
        """Make the checkpoint appear, if one was begun; `saved`: what the leaders of other nodes report, by node."""
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        records = self._new_records()
        self._extend(self._here, self._chain.finish(records), self._is_base)
        self._records_saved += len(records)
        for node, (size, crc, is_base) in saved.items():
            self._extend(node, FileRef(rows_name(self._round, node), size, crc), bool(is_base))
        pending.finish(self._chains)
        self._retention.add(self._round, self._chains)

    def discard(self) -> None:
        """Give up a checkpoint that was begun."""
        if self._pending is not None:
            self._pending.discard()
            self._chain.discard()
            self._pending = None

    def saved_by_others(self, reports: Iterable[RankReport]) -> dict[int, tuple[int, int, int]]:
        """Return what the leaders of other nodes have reported; `reports` in the order of ranks, from 1."""
        return by_leader(self._world, [NOTHING_SAVED, *(report.saved for report in reports)])

    def _state_writer(self, state: ServerState) -> StateWriter:
        return StateWriter(self._folder, state, job_shape(self._setup), names(self._setup.coders))

    def _extend(self, node: int, file: FileRef, is_base: bool) -> None:
        self._chains[node] = (file,) if is_base else (*self._chains[node], file)

    def _new_records(self) -> bytes:
        """Return the lines of rounds.jsonl, until the checkpoint's round, that its chain does not hold yet."""
        try:
            with self._records.open("rb") as file:
                file.seek(self._records_saved)
                lines = file.read()
        except OSError as error:
            raise UserError(f"cannot read {self._records}: {error.strerror}") from error
        return lines


class NodeSaver:
    """The part of the client ranks of a node without the server; `after_commit` is called by all of them."""

    def __init__(self, folder: Path, setup: Setup, state: ClientState, held: Iterable[int]) -> None:
        """`held`: clients of this node that took part before."""
        self._world = setup.world
        self._here = self._world.node_of[self._world.rank]
        self._every = setup.config.runtime.checkpoint_every
        self._chain = RowChain(folder, self._here, state, held)

    def after_commit(self, plan: RoundPlan, final: bool) -> tuple[int, int, int]:
        """Write the rows that have changed if a checkpoint is due; return what the leader is to report."""
        if self._here == self._world.node_of[SERVER]:
            return NOTHING_SAVED
        self._chain.note(clients_of(plan, self._world, self._here))
        if not is_due(plan.round.number, self._every, final):
            return NOTHING_SAVED
        wait_all([self._world.node.Ibarrier()])
        if not self._world.leads_node:
            return NOTHING_SAVED
        is_base = self._chain.begin(plan.round.number)
        file = self._chain.finish()
        return file.size, file.crc32, int(is_base)

    def write_again(self, plan: RoundPlan, final: bool) -> tuple[int, int, int]:
        """After ranks were lost: write the rows as they are after `plan`, if a checkpoint is due then; see there.

        The lost rank may have been the leader, so its file is written anew, with all rows.
        """
        if self._here == self._world.node_of[SERVER]:
            return NOTHING_SAVED
        self._chain.note(clients_of(plan, self._world, self._here))
        self._chain.discard()
        if not is_due(plan.round.number, self._every, final) or not self._world.leads_node:
            return NOTHING_SAVED
        self._chain.begin(plan.round.number)
        file = self._chain.finish()
        return file.size, file.crc32, 1


def clients_of(plan: RoundPlan, world: World, node: int) -> list[int]:
    """Return the members of a cohort whose home is a node."""
    return [client for client in plan.cohort.tolist() if home_node(client, world.homes) == node]


def by_leader(world: World, saved: list[tuple[int, int, int]]) -> dict[int, tuple[int, int, int]]:
    """Return, by node, what the leaders of the nodes without the server have saved; `saved` [ranks]."""
    leaders = {node: world.node_of.index(node) for node in set(world.node_of) - {world.node_of[SERVER]}}
    return {node: saved[leader] for node, leader in leaders.items()}


def gather_saved(world: World, mine: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """Return on the server what each rank has saved after the last round; all ranks call this (MPI_Igather)."""
    words = np.array(mine, dtype=np.int64)
    everyone = np.zeros((world.size, len(mine)), dtype=np.int64)
    wait_all([world.comm.Igather([words, MPI.INT64_T], [everyone, MPI.INT64_T], root=SERVER)])
    return [(int(size), int(crc), int(base)) for size, crc, base in everyone]
