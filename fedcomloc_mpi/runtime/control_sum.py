"""The sum of all control variates at the end of a run, as they stand in the memory of all nodes."""

import numpy as np
from mpi4py import MPI

from fedcomloc_mpi.metrics.records import finite_or_none
from fedcomloc_mpi.runtime.client_state import ClientState
from fedcomloc_mpi.runtime.schedule import home_node
from fedcomloc_mpi.runtime.setup import Setup
from fedcomloc_mpi.runtime.start import Start
from fedcomloc_mpi.transport.wait import wait_all
from fedcomloc_mpi.transport.world import SERVER


def control_sum(
    setup: Setup, state: ClientState, start: Start, rounds: int
) -> dict[str, float | None] | None:
    """Add up the control variates of all clients as they stand in memory, weighted as in the mean; all ranks call this.

    Only clients that have taken part are read: those of `start`, which another seed may have chosen, and the cohorts of
    the rounds after it. Returns, on the server, the Euclidean norm and the largest magnitude of the sum; None on
    clients and for methods without control variates. A figure that is not finite is None.
    """
    vectors, world = setup.algorithm.control_vectors, setup.world
    if not vectors:
        return None
    taken_part = start.held.union(
        *(setup.cohort(number).tolist() for number in range(start.round + 1, rounds + 1))
    )
    node = world.node_of[world.rank]
    mine_to_add = [client for client in sorted(taken_part) if home_node(client, world.homes) == node]
    here = np.array(mine_to_add if world.leads_node else [], dtype=np.int64)
    mine = np.zeros((vectors, setup.layout.size))
    state.add_to(mine, here, setup.weights)
    total = np.zeros_like(mine)
    wait_all([world.comm.Ireduce(mine, total, op=MPI.SUM, root=SERVER)])
    if not world.is_server:
        return None
    norm, largest = float(np.linalg.norm(total)), float(np.abs(total).max(initial=0.0))
    return {"norm": finite_or_none(norm), "largest_entry": finite_or_none(largest)}
