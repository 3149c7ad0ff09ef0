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
_SHORTEST_SLEEP = 200e-6
# The inner ranks of a broadcast tree forward only while they test: this bounds the delay at each of its levels.
_LONGEST_SLEEP = 4e-3
# Libraries move a large broadcast in dozens of steps, each of which waits for some rank's test: with sleeps of a
# sixteenth of what it usually takes it would always take that long.
_SHARE_OF_STEPS = 1 / 64
# The first sleep ends this many mean distances before the usual end, and in the first half of the usual wait: a rank
# that oversleeps holds up all others in a tree, and what they learn from it is that such waits are long.
_DISTANCES = 3
_LARGEST_SHARE = 1 / 2
# The watchdog's questions are answered in time.
_LONGEST_FIRST_SLEEP = 0.25

_guards: list[Callable[[], Between]] = []


@contextmanager
def guarded(guard: Callable[[], Between]) -> Iterator[None]:
    """Within the block, every wait that brings no `between` of its own begins by calling `guard` for one."""
    _guards.append(guard)
    try:
        yield
    finally:
        _guards.pop()


def wait_all(
    requests: Sequence[MPI.Request],
    between: Between | None = None,
    usual: "Usual | None" = None,
    work: float = 1.0,
    in_steps: bool = False,
) -> None:
    """Return when all `requests` are complete (MPI_Testall), sleeping as `Patience` does between tests.

    `between` is called before every sleep; it may raise to give up waiting. Without it that of the innermost `guarded`
    block is used. `usual` is what waits like this one take with so much `work`, and learns from it. in_steps: the ranks
    move what is waited for together, and it is under way. Errors of MPI are raised as MPI.Exception.
    """
    requests = list(requests)
    if MPI.Request.Testall(requests):
        return
    patience = Patience(_guards[-1]() if between is None and _guards else between, usual, work, in_steps)
    while True:
        patience.sleep()
        if MPI.Request.Testall(requests):
            patience.end()
            return


class Usual:
    """How long waits of one kind usually take: a running mean, and the mean distance from it (as in RFC 6298).

    Where a wait depends on how much work others do, it is measured per unit of `work`, of any kind.
    """

    def __init__(self) -> None:
        self._mean = self._distance = 0.0

    def add(self, seconds: float, work: float = 1.0) -> None:
        """Learn from a wait."""
        each = seconds / work
        if not self._mean:
            self._mean, self._distance = each, each / 2
            return
        self._distance += (abs(each - self._mean) - self._distance) / 4
        self._mean += (each - self._mean) / 4

    def seconds(self, work: float = 1.0) -> float:
        """Return what such a wait usually takes."""
        return self._mean * work

    def at_least(self, work: float = 1.0) -> float:
        """Return seconds, at most half the mean, before which such a wait hardly ever ends; 0 if nothing is known."""
        return max(0.0, min(self._mean - _DISTANCES * self._distance, self._mean * _LARGEST_SHARE)) * work


class Patience:
    """The sleeps of one wait: a sixteenth of the time waited so far, or of what such waits usually take if it is more.

    At least 200 us and at most 4 ms, the first one until half of the usual wait at most. Without what is
    usual, the first milliseconds of a wait would cost most tests. Of a wait `in_steps`: a 64th of the time so far.
    """

    def __init__(
        self,
        between: Between | None = None,
        usual: Usual | None = None,
        work: float = 1.0,
        in_steps: bool = False,
        begun: float | None = None,
    ) -> None:
        """Start waiting; `between` is called before every sleep and may raise to give up.

        begun: since when what is waited for has been under way, in seconds of `time.monotonic`; None: since now.
        """
        self._between, self._usual, self._work = between, usual, work
        self._share = _SHARE_OF_STEPS if in_steps else _SHARE_OF_WAIT
        self._since = time.monotonic() if begun is None else begun
        self._first = 0.0 if usual is None else min(usual.at_least(work), _LONGEST_FIRST_SLEEP)

    def sleep(self) -> None:
        """Sleep once."""
        if self._between is not None:
            self._between()
        waited = time.monotonic() - self._since
        if self._usual is not None:
            waited = max(waited, self._usual.seconds(self._work))
        usual_sleep = min(max(waited * self._share, _SHORTEST_SLEEP), _LONGEST_SLEEP)
        time.sleep(max(self._first, usual_sleep))
        self._first = 0.0

    def end(self) -> None:
        """Learn from the wait that it is over."""
        if self._usual is not None:
            self._usual.add(time.monotonic() - self._since, self._work)
