import time

import numpy as np
import pytest
from mpi4py import MPI

from fedcomloc_mpi.transport.wait import Patience, Usual, guarded, wait_all


def pending_request() -> MPI.Grequest:
    """A request that is complete as soon as somebody calls its Complete()."""
    return MPI.Grequest.Start(lambda status: None, lambda: None, lambda complete: None)


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The lengths of all sleeps, which take no time but move the clock."""
    recorded: list[float] = []
    monkeypatch.setattr(time, "sleep", recorded.append)
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0 + sum(recorded))
    return recorded


def waited_for(
    sleeps: list[float],
    seconds: float,
    usual: Usual | None = None,
    work: float = 1.0,
    in_steps: bool = False,
) -> list[float]:
    """Wait for what comes after some seconds; return the sleeps of this wait."""
    request, before, until = pending_request(), len(sleeps), sum(sleeps) + seconds

    def between() -> None:
        if sum(sleeps) >= until:
            request.Complete()

    wait_all([request], between, usual, work, in_steps)
    return sleeps[before:]


def test_nothing_to_wait_for(sleeps: list[float]) -> None:
    wait_all([])
    wait_all([MPI.REQUEST_NULL, MPI.REQUEST_NULL])
    assert sleeps == []


def test_a_waiting_rank_sleeps_between_tests_longer_and_longer(sleeps: list[float]) -> None:
    requests = [pending_request(), pending_request()]
    calls = 0

    def between() -> None:
        nonlocal calls
        calls += 1
        assert len(sleeps) == calls - 1
        if calls == 10:
            requests[1].Complete()
        if calls == 400:
            requests[0].Complete()

    wait_all(requests, between)
    assert len(sleeps) == calls == 400
    assert sleeps == sorted(sleeps)
    assert min(sleeps) == pytest.approx(200e-6)
    assert max(sleeps) == pytest.approx(4e-3)
    # Whatever is waited for is noticed late by a small share of the wait.
    assert all(late <= 201e-6 or late <= 0.07 * sum(sleeps[:i]) for i, late in enumerate(sleeps))


def test_a_wait_that_usually_takes_long_is_tested_seldom(sleeps: list[float]) -> None:
    usual, counts = Usual(), []
    for _ in range(6):
        counts.append(len(waited_for(sleeps, 0.02, usual)))
        assert usual.seconds() == pytest.approx(0.02, rel=0.15)
    assert counts[0] > 40
    assert max(counts[1:]) <= 18


def test_what_is_moved_in_steps_is_tested_often_however_long_it_usually_takes(sleeps: list[float]) -> None:
    waited_for(sleeps, 0.1, in_steps=True)
    assert all(late <= max(201e-6, sum(sleeps[:i]) / 63) for i, late in enumerate(sleeps))


def test_who_has_overslept_learns_that_the_wait_is_shorter(sleeps: list[float]) -> None:
    usual = Usual()
    for _ in range(20):
        usual.add(0.2)
    for _ in range(12):
        waited = sum(waited_for(sleeps, 0.01, usual))
    assert waited < 0.02


def test_the_innermost_guard_watches_waits_without_between(sleeps: list[float]) -> None:
    called: list[str] = []

    def guard(name: str, request: MPI.Grequest):
        def begin():
            def between() -> None:
                called.append(name)
                request.Complete()

            return between

        return begin

    first, second, third = (pending_request() for _ in range(3))
    with guarded(guard("outer", first)):
        with guarded(guard("inner", second)):
            wait_all([second])
            wait_all([third], third.Complete)
        wait_all([first])
    assert called == ["inner", "outer"]


def test_between_may_give_up(sleeps: list[float]) -> None:
    request = pending_request()

    def between() -> None:
        if len(sleeps) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wait_all([request], between)
    request.Complete()
    wait_all([request])


def test_the_first_sleep_of_a_steady_wait_lasts_half_of_it(sleeps: list[float]) -> None:
    usual = Usual()
    for work in (1, 2, 1, 4, 2, 1, 1, 3, 1):
        last = waited_for(sleeps, 0.05 * work, usual, work)
    assert usual.seconds(3) == pytest.approx(0.15, rel=0.1)
    assert last[0] == pytest.approx(0.025, rel=0.1)
    assert len(last) < 10


def test_what_has_long_been_under_way_is_tested_seldom(sleeps: list[float]) -> None:
    sleeps.append(0.04)
    patience = Patience(begun=1000.0)
    for _ in range(5):
        patience.sleep()
    assert sleeps[1:] == pytest.approx([2.5e-3, 2.656e-3, 2.822e-3, 2.999e-3, 3.186e-3], rel=1e-3)


def test_little_is_expected_of_waits_that_differ() -> None:
    usual = Usual()
    assert usual.seconds() == usual.at_least() == 0
    for seconds in [0.1, 0.001] * 20:
        usual.add(seconds)
    assert usual.at_least() == 0 < usual.seconds()


@pytest.mark.mpi(min_size=2)
def test_several_requests_of_several_ranks() -> None:
    comm = MPI.COMM_WORLD.Dup()
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    for count in (0, 1, 1000, 1_000_000):
        sent = [np.full(count, 10 * comm.rank + tag, dtype=np.int64) for tag in range(3)]
        received = [np.full(count, -1, dtype=np.int64) for _ in range(3)]
        total = np.zeros(1, dtype=np.int64)
        requests = [comm.Irecv(received[tag], source=left, tag=tag) for tag in (2, 0, 1)]
        requests += [comm.Isend(sent[tag], dest=right, tag=tag) for tag in range(3)]
        requests.append(comm.Iallreduce(np.array([comm.rank]), total))
        wait_all(requests)
        assert all((received[tag] == 10 * left + tag).all() for tag in range(3))
        assert total[0] == comm.size * (comm.size - 1) // 2


@pytest.mark.mpi(min_size=2)
def test_between_is_called_while_a_message_is_missing() -> None:
    comm = MPI.COMM_WORLD.Dup()
    calls = 0

    def between() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:  # only now the others are told to send
            comm.Barrier()

    if comm.rank == 0:
        received = np.zeros(comm.size, dtype=np.int64)
        requests = [comm.Irecv(received[rank : rank + 1], source=rank) for rank in range(1, comm.size)]
        wait_all(requests, between)
        assert received.tolist() == [0, *range(1, comm.size)]
        assert calls >= 3
    else:
        comm.Barrier()
        wait_all([comm.Isend(np.array([comm.rank]), dest=0)])
