import time
from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcomloc_mpi.metrics import CLIENT_PARTS, SERVER_PARTS, Stopwatch

TICK = 2.0**-30


class Clock:
    """Stands still until told to move, in nanoseconds."""

    def __init__(self) -> None:
        self.now = 10**15

    def __call__(self) -> int:
        return self.now

    def pass_seconds(self, seconds: int) -> None:
        self.now += seconds * 10**9


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_parts_of_the_contract() -> None:
    server = ("encode", "broadcast", "wait", "receive", "decode", "aggregate", "evaluate", "checkpoint")
    assert server == SERVER_PARTS
    assert CLIENT_PARTS == ("compute", "select", "encode", "wait", "decode", "update")


def test_time_goes_to_the_innermost_part(clock: Clock) -> None:
    watch = Stopwatch(("outer", "inner", "idle"), clock)
    clock.pass_seconds(1)
    with watch.part("outer"):
        clock.pass_seconds(2)
        with watch.part("inner"):
            clock.pass_seconds(4)
            with watch.part("outer"):
                clock.pass_seconds(8)
        clock.pass_seconds(16)
    clock.pass_seconds(32)
    lap = watch.lap()
    assert lap == {"outer": 26.0, "inner": 4.0, "idle": 0.0, "other": 33.0}
    assert list(lap) == ["outer", "inner", "idle", "other"]


def test_laps_follow_each_other_without_a_gap(clock: Clock) -> None:
    watch = Stopwatch(("wait",), clock)
    with watch.part("wait"):
        clock.pass_seconds(3)
        assert watch.lap() == {"wait": 3.0, "other": 0.0}
        clock.pass_seconds(5)
    clock.pass_seconds(7)
    assert watch.lap() == {"wait": 5.0, "other": 7.0}
    assert watch.lap() == {"wait": 0.0, "other": 0.0}


def test_an_error_leaves_the_part(clock: Clock) -> None:
    watch = Stopwatch(("decode",), clock)
    with pytest.raises(ZeroDivisionError), watch.part("decode"):
        clock.pass_seconds(1)
        raise ZeroDivisionError
    clock.pass_seconds(2)
    assert watch.lap() == {"decode": 1.0, "other": 2.0}


@given(st.lists(st.integers(0, 10**13), min_size=4, max_size=4))
def test_parts_add_up_exactly_in_any_order(nanoseconds: list[int]) -> None:
    clock = Clock()
    watch = Stopwatch(("a", "b", "c"), clock)
    for name, elapsed in zip("abc", nanoseconds, strict=False):
        with watch.part(name):
            clock.now += elapsed
    clock.now += nanoseconds[3]
    lap = watch.lap()
    exact = sum(Fraction(seconds) for seconds in lap.values())
    for order in permutations(lap.values()):
        assert Fraction(sum(order)) == exact
    assert abs(float(exact) - sum(nanoseconds) / 1e9) <= 4 * TICK


def test_real_clock() -> None:
    before = time.perf_counter()
    watch = Stopwatch(("sleep",))
    with watch.part("sleep"):
        time.sleep(0.01)
    lap = watch.lap()
    elapsed = time.perf_counter() - before
    assert 0.01 <= lap["sleep"] <= elapsed + TICK
    assert sum(lap.values()) <= elapsed + 2 * TICK


def test_entering_a_part_makes_no_objects() -> None:
    watch = Stopwatch(("encode",))
    assert watch.part("encode") is watch.part("encode")


def test_unknown_part() -> None:
    with pytest.raises(KeyError, match="lunch"):
        Stopwatch(("encode",)).part("lunch")


@pytest.mark.parametrize("names", [("a", "a"), ("a", "other")])
def test_ambiguous_parts(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="must differ"):
        Stopwatch(names)
