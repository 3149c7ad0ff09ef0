"""What a rank does when others have died and the job is to go on without them (--on-rank-loss continue).

Ranks may be one round apart: some have the last broadcast, others have not. So the server sends it once more, to all;
every client rank goes back to the model before it and takes it in again; the lowest client rank of each node completes
the commits that dead ranks have left, see `ClientState.commit`; and all begin the round after it, spread anew.

`Survivor` is the part that server and clients have in common.
"""

from collections.abc import Callable

import numpy as np
from mpi4py import MPI

from fedcomloc_mpi.runtime.setup import Setup
from fedcomloc_mpi.transport.exchange import Exchange
from fedcomloc_mpi.transport.survival import LostRank, is_loss, regroup
from fedcomloc_mpi.transport.wait import wait_all
from fedcomloc_mpi.transport.world import SERVER


class Survivor:
    """Brings one rank, with all others that are left, to the beginning of the round after the last broadcast."""

    def __init__(self, setup: Setup, exchange: Exchange) -> None:
        self._setup, self._exchange, self._world = setup, exchange, setup.world
        self._enabled = setup.config.runtime.on_rank_loss == "continue"

    def outlive(
        self,
        error: MPI.Exception,
        settle: Callable[[], object],
        regrouped: Callable[[list[int], list[LostRank]], object] = lambda kept, lost: None,
    ) -> None:
        """Go on without the ranks that `error` comes from; to be called in the `except` block that has caught it.

        (The frames that `error` holds keep the buffers of messages under way until the communicator is given up.)
        `regrouped` is called with what `transport.survival.regroup` returns, then `settle`, which all ranks do
        together; if more ranks die meanwhile, once more. Raises `error` if the job is to stop, or it means something
        else; RankLost if the job cannot go on.
        """
        if not self._enabled or not is_loss(error):
            raise error
        try:
            regrouped(*regroup(self._world, pinned=self._setup.algorithm.control_vectors > 0))
            self._exchange.restart()
            settle()
        except MPI.Exception as another:
            self.outlive(another, settle, regrouped)

    def repair(self, commit_all: Callable[[], object]) -> None:
        """Let `commit_all` run on the lowest client rank of each node, with no other rank of the node at work.

        All ranks call this.
        """
        node = self._world.node
        wait_all([node.Ibarrier()])
        first_client = 1 if self._world.node_of[self._world.rank] == self._world.node_of[SERVER] else 0
        if node.rank == first_client:
            commit_all()
        wait_all([node.Ibarrier()])

    def last_round(self, round: int) -> int:
        """Return the round of the server's last broadcast; only the server's argument counts. All ranks call this."""
        word = np.array([round], dtype=np.int64)
        self._world.broadcast(word)
        return int(word[0])

    def leave_together(self) -> None:
        """Return when all ranks have come so far; raises MPI.Exception if one died before, on all or on none."""
        if self._enabled and self._world.comm.Agree(1) != 1:
            raise MPI.Exception(MPI.ERR_PROC_FAILED)
