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

_FIRST_SLEEP = 50e-6
_GROWTH = 1.3
_LONGEST_SLEEP = (
    1e-3  # the inner ranks of a broadcast tree forward only while they test, so this bounds the delay a level
)
_SHARE = 0.02  # of the time waited so far: what a proportional sleep may add to the wait
_SHORTEST_SHARE, _LONGEST_SHARE = 20e-6, 5e-3

_guards: list[Callable[[], Between]] = []


@contextmanager
def guarded(guard: Callable[[], Between]) -> Iterator[None]:
    """Within the block, every wait that brings no `between` of its own begins by calling `guard` for one."""
    _guards.append(guard)
    try:
        yield
    finally:
        _guards.remove(guard)


def wait_all(requests: Sequence[MPI.Request], between: Between | None = None) -> None:
    """Return when all `requests` are complete (MPI_Testall), sleeping from 50 us, growing to 1 ms, between tests.

    `between` is called before every sleep; it may raise to give up waiting. Without it that of the innermost `guarded`
    block is used. Errors of MPI are raised as MPI.Exception.
    """
    requests = list(requests)
    delay = _FIRST_SLEEP
    if not MPI.Request.Testall(requests):
        if between is None and _guards:
            between = _guards[-1]()
        while True:
            if between is not None:
                between()
            time.sleep(delay)
            if MPI.Request.Testall(requests):
                return
            delay = min(delay * _GROWTH, _LONGEST_SLEEP)


class Patience:
    """Sleeps of one wait that grow with it: 2 % of the time waited so far, from 20 us to 5 ms.

    For messages between two ranks, whose progress depends on no third one: whatever the length of the wait, sleeping
    adds about 2 % to it.
    """

    def __init__(self, between: Between | None = None) -> None:
        """Start waiting; `between` is called before every sleep and may raise to give up."""
        self._between = between
        self._since = time.monotonic()

    def sleep(self) -> None:
        """Sleep once."""
        if self._between is not None:
            self._between()
        waited = time.monotonic() - self._since
        time.sleep(min(max(_SHARE * waited, _SHORTEST_SHARE), _LONGEST_SHARE))

    def restart(self) -> None:
        """Start anew: something has arrived, and the next may follow soon."""
        self._since = time.monotonic()
