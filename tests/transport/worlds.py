"""Worlds for tests: what `open_world` makes, on chosen ranks and with made-up nodes."""

import os
from collections.abc import Sequence

from mpi4py import MPI

from fedcomloc_mpi.transport.world import World


def world_of(comm: MPI.Intracomm, node_of: Sequence[int] | None = None) -> World:
    """Return a world over `comm` in which rank r runs on node `node_of[r]`; all on one node by default."""
    nodes = tuple(node_of or [0] * comm.size)
    return World(
        comm=comm.Dup(),
        node=comm.Split(nodes[comm.rank], comm.rank),
        node_of=nodes,
        hosts=tuple(f"host{node}" for node in nodes),
        processes=tuple(comm.allgather(os.getpid())),
    )
