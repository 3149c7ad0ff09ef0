"""Waiting for another rank ends: when one is hung, stopped or lost, the job ends with its name.

Every rank watches. The server waits for the clients, up to the limit; then it asks every rank for a sign of life
(an empty message, which a rank answers while it waits) and raises RankLost with the names of those that give none.
Clients wait for the server, a little longer, so that it is the server that names a client.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from fedcomloc_mpi.errors import RankLost
from fedcomloc_mpi.transport.process import condition
from fedcomloc_mpi.transport.survival import raise_if_lost
from fedcomloc_mpi.transport.wait import Between
from fedcomloc_mpi.transport.world import SERVER, World

SHORTEST_DEFAULT = 300.0
FIRST_ROUND = 3600.0  # nothing is known yet of how long a round takes
_DEFAULT_FACTOR = 10.0
_QUESTION_TAG, _ANSWER_TAG = 5, 6
_QUESTION_SECONDS = 3.0
# Later than the server by the time that its questions take.
_CLIENT_FACTOR, _CLIENT_SECONDS = 1.1, 8.0
_QUIET_SECONDS = 0.5  # a wait so short needs no answers
_LARGEST_STEP = 1.0
_START_SECONDS = 600.0


class Watchdog:
    """Limits the waits of one rank.

    limit: seconds that a rank waits within a round; None: 10 times the slowest round so far, or what that would have
    taken with the local steps of this round, at least 300; an hour in the first round. `local_steps`: of this round.
    """

    def __init__(
        self,
        world: World,
        limit: float | None,
        clock: Callable[[], float] = time.monotonic,
        look_for_losses: bool = False,
    ) -> None:
        """look_for_losses: raise MPI.Exception in waits when a rank has died, for jobs that go on without it."""
        self._world, self._given, self._clock = world, limit, clock
        self._look_for_losses = look_for_losses
        self._slowest = self._slowest_step = 0.0
        self.local_steps = 1

    @property
    def limit(self) -> float:
        """Seconds after which a wait of this rank is given up."""
        if self._given is not None:
            return self._given + (0 if self._world.is_server else _CLIENT_SECONDS)
        limit = FIRST_ROUND
        if self._slowest:
            expected = max(self._slowest, self._slowest_step * self.local_steps)
            limit = max(SHORTEST_DEFAULT, _DEFAULT_FACTOR * expected)
        return limit if self._world.is_server else _CLIENT_FACTOR * limit + _CLIENT_SECONDS

    def begin_round(self, local_steps: int) -> None:
        """Learn how long a round is to be, in local steps."""
        self.local_steps = local_steps

    def end_round(self, seconds: float) -> None:
        """Learn how long the round has taken."""
        self._slowest = max(self._slowest, seconds)
        self._slowest_step = max(self._slowest_step, seconds / self.local_steps)

    def wait(self, waited_for: Callable[[], Sequence[int]] | None = None) -> Between:
        """Begin a wait; return what is to be called between tests for its end, and raises RankLost.

        waited_for: returns the ranks that the wait depends on; None if that cannot be told.
        """
        return _Wait(self, waited_for, self.limit)

    def start_up(self, limited: bool) -> Callable[[], Between]:
        """Return the guard of waits outside the rounds: at least 300 s, or without limit (while data is fetched)."""
        return lambda: _Wait(
            self, None, max(SHORTEST_DEFAULT, self._given or 0) + _CLIENT_SECONDS if limited else float("inf")
        )

    def look(self) -> None:
        """Answer the server if it asks for a sign of life; raise MPI.Exception if a rank has died and it matters."""
        if self._look_for_losses:
            raise_if_lost(self._world.comm)
        comm = self._world.comm
        while not self._world.is_server and comm.Iprobe(source=SERVER, tag=_QUESTION_TAG):
            nothing = np.empty(0, dtype=np.uint8)
            comm.Recv(nothing, source=SERVER, tag=_QUESTION_TAG)
            comm.Isend(nothing, dest=SERVER, tag=_ANSWER_TAG).Free()

    def give_up(self, waited: float, ranks: Sequence[int] | None) -> None:
        """Raise RankLost with the names of the ranks that are waited for."""
        if ranks is None:
            ranks = self._silent() if self._world.is_server else [SERVER]
        conditions = {rank: self._condition(rank) for rank in ranks}
        # A stopped or dead rank is the cause; ranks without a known reason may wait for it in turn.
        guilty = [rank for rank in ranks if conditions[rank]] or list(ranks)
        if not guilty:
            raise RankLost(
                f"rank {self._world.rank} waited {waited:.0f} s though all ranks answer: a message was lost"
            )
        names = ", ".join(
            f"{self._world.name(rank)}{f' ({why})' if (why := conditions[rank]) else ''}" for rank in guilty
        )
        raise RankLost(f"rank {self._world.rank} waited {waited:.0f} s in vain for {names}")

    def _silent(self) -> list[int]:
        """Ask all client ranks for a sign of life; return those that give none."""
        comm, nothing = self._world.comm, np.empty(0, dtype=np.uint8)
        silent = set(range(1, self._world.size))
        for rank in silent:
            comm.Isend(nothing, dest=rank, tag=_QUESTION_TAG).Free()
        end = self._clock() + _QUESTION_SECONDS
        status = MPI.Status()
        while silent and self._clock() < end:
            while comm.Iprobe(source=MPI.ANY_SOURCE, tag=_ANSWER_TAG, status=status):
                comm.Recv(nothing, source=status.Get_source(), tag=_ANSWER_TAG)
                silent.discard(status.Get_source())
            time.sleep(0.01)
        return sorted(silent)

    def _condition(self, rank: int) -> str | None:
        same_host = self._world.node_of[rank] == self._world.node_of[self._world.rank]
        return condition(self._world.processes[rank]) if same_host else None


def starting(rank: int) -> Callable[[], Between]:
    """Return the guard of waits before a World is known: for ranks that are still loading what they need."""

    def guard() -> Between:
        awake = _AwakeClock(time.monotonic)

        def between() -> None:
            if awake.seconds() > _START_SECONDS:
                raise RankLost(f"rank {rank} waited {_START_SECONDS:.0f} s in vain for all ranks to start")

        return between

    return guard


class _AwakeClock:
    """Seconds since it was made, without those in which this process itself was stopped or starved."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = clock()
        self._seconds = 0.0

    def seconds(self) -> float:
        """Return the time passed; a step between two calls counts for one second at most."""
        now = self._clock()
        self._seconds += min(now - self._last, _LARGEST_STEP)
        self._last = now
        return self._seconds


@dataclass
class _Wait:
    """One wait, timed by the clock of the watchdog; see `Watchdog.wait`."""

    watchdog: Watchdog
    waited_for: Callable[[], Sequence[int]] | None
    limit: float

    def __post_init__(self) -> None:
        self._awake = _AwakeClock(self.watchdog._clock)

    def __call__(self) -> None:
        waited = self._awake.seconds()
        if waited > _QUIET_SECONDS:
            self.watchdog.look()
        if waited > self.limit:
            self.watchdog.give_up(waited, self.waited_for() if self.waited_for else None)
