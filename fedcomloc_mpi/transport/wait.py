"""Waiting that leaves the core to the ranks that compute.

MPI libraries spin inside blocking calls. On machines with more ranks than cores the spinning ranks take the cores from
the computing ones: 11 MPICH ranks on 2 cores use 2 to 3 times the CPU that the clients' steps need. So every wait is a
nonblocking operation that is tested, with sleeps in between.
"""

import time
from collections.abc import Callable, Sequence

from mpi4py import MPI

_FIRST_SLEEP = 50e-6
_GROWTH = 1.3
_LONGEST_SLEEP = (
    1e-3  # the inner ranks of a broadcast tree forward only while they test, so this bounds the delay a level
)


def wait_all(requests: Sequence[MPI.Request], between: Callable[[], None] | None = None) -> None:
    """Return when all `requests` are complete (MPI_Testall), sleeping from 50 us, growing to 1 ms, between tests.

    `between` is called before every sleep; it may raise to give up waiting. Errors of MPI are raised as MPI.Exception.
    """
    requests = list(requests)
    delay = _FIRST_SLEEP
    while not MPI.Request.Testall(requests):
        if between is not None:
            between()
        time.sleep(delay)
        delay = min(delay * _GROWTH, _LONGEST_SLEEP)
