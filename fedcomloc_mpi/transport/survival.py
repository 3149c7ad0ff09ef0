"""Going on without ranks whose processes have died: user-level failure mitigation (ULFM) of MPI 5's drafts.

Open MPI 5 has it when started as `mpirun --with-ft ulfm`: a lost rank shows as an error in whoever communicates with
it. Who sees such an error revokes the communicator (MPIX_Comm_revoke), so that all others see one too, and all meet in
MPIX_Comm_shrink.
"""

import faulthandler
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from mpi4py import MPI

from fedcomloc_mpi.errors import AgreedError, RankLost
from fedcomloc_mpi.transport.world import SERVER, World, library_version

Result = TypeVar("Result")

_ENABLED = "OMPI_MCA_mpi_ft_enable"  # set by `mpirun --with-ft ulfm`
_LOSS_CLASSES = (
    MPI.ERR_PROC_FAILED,
    MPI.ERR_PROC_FAILED_PENDING,
    MPI.ERR_REVOKED,
    MPI.ERR_IN_STATUS,  # of several requests, one has one of the errors above
)
# MPIX_Comm_shrink waits without a limit for ranks that compute; a rank that hangs must not hang the others.
_MEETING_SECONDS = 600.0


@dataclass(frozen=True)
class LostRank:
    """A rank that has died: its number when the job started, its process id, its host."""

    rank: int
    process: int
    host: str


def refuse_without_ulfm(environment: Mapping[str, str] = os.environ) -> None:
    """Raise AgreedError if the MPI library, or the way it was started, does not let a job survive a lost rank."""
    vendor, version = MPI.get_vendor()
    if vendor != "Open MPI" or version[0] < 5:
        raise AgreedError(
            "on_rank_loss is continue: that needs ULFM, which Open MPI 5 has; the MPI library here is"
            f" {library_version().splitlines()[0]}; with it use --on-rank-loss stop, and --resume after a loss"
        )
    if environment.get(_ENABLED) not in ("1", "true"):
        raise AgreedError(
            "on_rank_loss is continue: Open MPI must then be started as `mpirun --with-ft ulfm` (under another launcher"
            f" with {_ENABLED}=1), or it ends the job when a rank is lost"
        )


def is_loss(error: MPI.Exception) -> bool:
    """Whether an error of MPI says that a rank is lost, or that another rank has seen one lost."""
    return error.Get_error_class() in _LOSS_CLASSES


def raise_if_lost(comm: MPI.Comm) -> None:
    """Raise MPI.Exception if a rank of `comm` is known to have failed (MPIX_Comm_get_failed, which is local)."""
    failed = comm.Get_failed()
    lost = failed.size
    failed.Free()
    if lost:
        raise MPI.Exception(MPI.ERR_PROC_FAILED)


def regroup(world: World, pinned: bool) -> tuple[list[int], list[LostRank]]:
    """Go on in `world` with the ranks that are left; each of them must call this, having seen `is_loss`.

    pinned: whether clients have a state, which only the ranks of their node can reach; else those of a node without
    client ranks move to other nodes. Returns the ranks that are left, as they were numbered before, and those lost.
    Raises RankLost if the job cannot go on: without the server, without clients, or without a node's state.
    """
    before = world.comm
    comm, node = _meet(before, world.node_of[world.rank])
    kept = MPI.Group.Translate_ranks(comm.group, None, before.group)
    lost = [
        LostRank(world.first_ranks[rank], world.processes[rank], world.hosts[rank])
        for rank in range(len(world.node_of))
        if rank not in kept
    ]
    if SERVER not in kept:
        raise RankLost(f"{world.name(SERVER)} is lost: the job cannot go on without it")
    homes = surviving_homes(world, kept, pinned)
    world.keep(comm, node, kept)
    world.homes = homes
    return kept, lost


def _meet(comm: MPI.Intracomm, color: int) -> tuple[MPI.Intracomm, MPI.Comm]:
    """Return a communicator of all ranks that are left, and one of those with the same color."""
    faulthandler.dump_traceback_later(_MEETING_SECONDS, exit=True)
    try:
        while True:
            comm.Revoke()
            comm = cast(MPI.Intracomm, comm.Shrink())
            node = _unless_lost(comm.Split, color, comm.rank)
            # Another rank may have died meanwhile, which some may not have seen: all take what they agree on.
            if _unless_lost(comm.Agree, int(node is not None)) == 1 and node is not None:
                return comm, node
    finally:
        faulthandler.cancel_dump_traceback_later()


def surviving_homes(world: World, kept: Sequence[int], pinned: bool) -> tuple[int, ...]:
    """Return `World.homes` for a world of which only the ranks `kept` are left; see `regroup`. Raises RankLost."""
    served = sorted({world.node_of[rank] for rank in kept if rank != SERVER})
    if not served:
        raise RankLost("every client rank is lost")
    left = {node: served[index % len(served)] for index, node in enumerate(sorted(set(world.homes[1:])))}
    alone = sorted(set(world.homes[1:]) - set(served))
    if alone and pinned:
        hosts = sorted({world.hosts[world.node_of.index(node)] for node in alone})
        raise RankLost(
            f"no client rank is left on {', '.join(hosts)}, whose memory holds its clients' state: --resume goes on"
            " from the last checkpoint"
        )
    return tuple(left[node] if node in alone else node for node in world.homes)


def _unless_lost(call: Callable[..., Result], *arguments: object) -> Result | None:
    """Return what a call of MPI returns, None if it fails because of a lost rank."""
    try:
        return call(*arguments)
    except MPI.Exception as error:
        if not is_loss(error):
            raise
        return None
