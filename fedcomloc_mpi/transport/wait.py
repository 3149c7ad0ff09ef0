"""Waiting that leaves the core to the ranks that compute.

MPI libraries spin inside blocking calls. On machines with more ranks than cores the spinning ranks take the cores from
the computing ones: 11 MPICH ranks on 2 cores use 2 to 3 times the CPU that the clients' steps need. So every wait is a
nonblocking operation that is tested, with sleeps in between.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from mpi4py import MPI

Between = Callable[[], None]

# A test after a sleep costs 10 to 40 us of CPU, most of it for waking up with cold caches, so a fixed short sleep would
# burn a tenth of a core. Sleeping a share of the time waited so far keeps the delay in proportion: what is waited for
# is noticed at most this share late.
_SHARE_OF_WAIT = 1 / 16
_SHORTEST_SLEEP = 50e-6
# The inner ranks of a broadcast tree forward only while they test: this bounds the delay at each of its levels.
_LONGEST_SLEEP = 4e-3

_guards: list[Callable[[], Between]] = []


@contextmanager
def guarded(guard: Callable[[], Between]) -> Iterator[None]:
    """Within the block, every wait that brings no `between` of its own begins by calling `guard` for one."""
    _guards.append(guard)
    try:
        yield
    finally:
        _guards.pop()


def wait_all(requests: Sequence[MPI.Request], between: Between | None = None) -> None:
    """Return when all `requests` are complete (MPI_Testall), sleeping as `Patience` does between tests.

    `between` is called before every sleep; it may raise to give up waiting. Without it that of the innermost `guarded`
    block is used. Errors of MPI are raised as MPI.Exception.
    """
    requests = list(requests)
    if MPI.Request.Testall(requests):
        return
    patience = Patience(_guards[-1]() if between is None and _guards else between)
    while True:
        patience.sleep()
        if MPI.Request.Testall(requests):
            return


class Patience:
    """The sleeps of one wait: a sixteenth of the time waited so far, from 50 us to 4 ms."""

    def __init__(self, between: Between | None = None) -> None:
        """Start waiting; `between` is called before every sleep and may raise to give up."""
        self._between = between
        self._since = time.monotonic()

    def sleep(self) -> None:
        """Sleep once."""
        if self._between is not None:
            self._between()
        waited = time.monotonic() - self._since
        time.sleep(min(max(waited * _SHARE_OF_WAIT, _SHORTEST_SLEEP), _LONGEST_SLEEP))

    def restart(self) -> None:
        """Start anew: something has arrived, and the next may follow soon."""
        self._since = time.monotonic()
