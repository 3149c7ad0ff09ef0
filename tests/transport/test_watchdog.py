"""When a wait is given up, and who is named; on a made-up clock."""

from typing import cast

import pytest
from mpi4py import MPI

from fedcomloc_mpi.errors import RankLost
from fedcomloc_mpi.transport import watchdog as module
from fedcomloc_mpi.transport.watchdog import Watchdog
from fedcomloc_mpi.transport.world import World


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Comm:
    """The part of a communicator that is asked before anybody is questioned."""

    size = 4

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def Iprobe(self, **_: int) -> bool:
        return False


def world(rank: int) -> World:
    return World(
        comm=cast(MPI.Intracomm, Comm(rank)),
        node=cast(MPI.Comm, None),
        node_of=(0, 0, 0, 1),
        hosts=("a", "a", "a", "b"),
        processes=(10, 11, 12, 13),
    )


@pytest.fixture(autouse=True)
def conditions(monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    """What the operating system says of processes."""
    known: dict[int, str] = {}
    monkeypatch.setattr(module, "condition", known.get)
    return known


def wait(watchdog: Watchdog, clock: Clock, seconds: float, waited_for: list[int] | None = None) -> None:
    between = watchdog.wait(None if waited_for is None else lambda: waited_for)
    for _ in range(int(seconds * 2)):
        clock.now += 0.5
        between()


def test_a_given_limit() -> None:
    clock = Clock()
    watchdog = Watchdog(world(0), 20.0, clock)
    wait(watchdog, clock, 20, [1])
    with pytest.raises(RankLost, match=r"^rank 0 waited 20 s in vain for rank 1 \(process 11 on a\)$"):
        wait(watchdog, clock, 21, [1])


def test_clients_give_up_later_than_the_server() -> None:
    clock = Clock()
    watchdog = Watchdog(world(2), 20.0, clock)
    wait(watchdog, clock, 27)
    with pytest.raises(
        RankLost, match=r"^rank 2 waited 28 s in vain for rank 0, the server \(process 10 on a\)$"
    ):
        wait(watchdog, clock, 30)


def test_the_default_limit_follows_the_rounds() -> None:
    watchdog = Watchdog(world(0), None)
    assert watchdog.limit == 3600
    watchdog.begin_round(5)
    watchdog.end_round(1.0)
    assert watchdog.limit == 300
    watchdog.begin_round(3)
    watchdog.end_round(120.0)
    assert watchdog.limit == 1200
    watchdog.begin_round(1)
    watchdog.end_round(10.0)
    assert watchdog.limit == 1200
    watchdog.begin_round(30)  # of steps that took up to 40 s
    assert watchdog.limit == 10 * 30 * 40
    client = Watchdog(world(1), None)
    client.end_round(1.0)
    assert client.limit > 300


def test_own_stops_do_not_count() -> None:
    """A job that was suspended and goes on an hour later has not waited for an hour."""
    clock = Clock()
    watchdog = Watchdog(world(0), 20.0, clock)
    between = watchdog.wait(lambda: [1])
    for _ in range(10):
        clock.now += 3600
        between()


def test_the_stopped_one_is_named_and_not_those_that_wait_for_it(conditions: dict[int, str]) -> None:
    conditions[12] = "stopped by a signal"
    conditions[13] = "a process of another host"
    clock = Clock()
    with pytest.raises(RankLost, match=r"for rank 2 \(process 12 on a\) \(stopped by a signal\)$"):
        wait(Watchdog(world(0), 5.0, clock), clock, 6, [1, 2, 3])


def test_several_are_named_when_nothing_is_known() -> None:
    clock = Clock()
    with pytest.raises(RankLost, match=r"for rank 1 \(process 11 on a\), rank 3 \(process 13 on b\)$"):
        wait(Watchdog(world(0), 5.0, clock), clock, 6, [1, 3])


def test_waits_outside_the_rounds() -> None:
    clock = Clock()
    watchdog = Watchdog(world(1), 20.0, clock)
    for limited in (True, False):
        between = watchdog.start_up(limited)()
        for _ in range(300):
            clock.now += 1
            between()
    between = watchdog.start_up(True)()
    with pytest.raises(RankLost):
        for _ in range(400):
            clock.now += 1
            between()
