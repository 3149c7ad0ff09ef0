"""Order between two ranks that use the same shared memory one after the other."""

from collections.abc import Iterable

import numpy as np
from mpi4py import MPI

from fedcomloc_mpi.transport.wait import wait_all


def hand_over(comm: MPI.Comm, takers: Iterable[int], givers: Iterable[int]) -> None:
    """Tell the ranks `takers` that this rank is done, and wait until every rank of `givers` has said so to this one.

    Empty messages (MPI_Isend, MPI_Irecv), which order the memory accesses before them and after them. Every rank that
    is named must call this with the counterpart.
    """
    nothing = np.empty(0, dtype=np.uint8)
    requests = [comm.Isend(nothing, dest=rank) for rank in takers]
    requests += [comm.Irecv(nothing, source=rank) for rank in givers]
    wait_all(requests)
