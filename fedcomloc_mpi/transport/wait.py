"""Waiting that leaves the core to the ranks that compute.

MPI libraries spin inside blocking calls. On machines with more ranks than cores the spinning ranks take the cores from
the computing ones: 11 MPICH ranks on 2 cores use 2 to 3 times the CPU that the clients' steps need. So every wait is a
nonblocking operation that is tested, with sleeps in between.
"""

import time
from collections.abc import Callable, Sequence

from mpi4py import MPI

# A test after a sleep costs 10 to 40 us of CPU, most of it for waking up with cold caches, so a fixed short sleep would
# burn a tenth of a core. Sleeping a share of the time waited so far keeps the delay in proportion: what is waited for
# is noticed at most this share late.
_SHARE_OF_WAIT = 1 / 16
_SHORTEST_SLEEP = 50e-6
# The inner ranks of a broadcast tree forward only while they test: this bounds the delay at each of its levels.
_LONGEST_SLEEP = 4e-3


def wait_all(requests: Sequence[MPI.Request], between: Callable[[], None] | None = None) -> None:
    """Return when all `requests` are complete (MPI_Testall), sleeping 50 us to 4 ms between tests.

    `between` is called before every sleep; it may raise to give up waiting. Errors of MPI are raised as MPI.Exception.
    """
    requests = list(requests)
    started = time.monotonic()
    while not MPI.Request.Testall(requests):
        if between is not None:
            between()
        waited = time.monotonic() - started
        time.sleep(min(max(waited * _SHARE_OF_WAIT, _SHORTEST_SLEEP), _LONGEST_SLEEP))
