"""What clients cost, and what is learnt of the ranks' speeds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcomloc_mpi.runtime.balance import SpeedMeter, step_work
from fedcomloc_mpi.transport.exchange import USUAL_SPEED


def test_a_step_costs_its_samples_and_itself() -> None:
    samples = np.array([1, 10, 64, 1000])
    overhead = step_work(samples, 0)[0] - 1
    assert overhead > 0
    assert step_work(samples, 0).tolist() == (samples + overhead).tolist()
    assert step_work(samples, 64).tolist() == [1 + overhead, 10 + overhead, 64 + overhead, 64 + overhead]


def test_ranks_are_alike_at_first_and_while_they_differ_little() -> None:
    meter = SpeedMeter(4)
    assert meter.speeds.tolist() == [USUAL_SPEED] * 4
    for _ in range(20):
        meter.add([0, 10, 10, 10], [0.0, 1.0, 1.15, 0.9])
    assert meter.speeds.tolist() == [USUAL_SPEED] * 4


def test_a_slow_rank_is_found_and_forgiven() -> None:
    meter = SpeedMeter(4)
    for _ in range(20):
        meter.add([0, 10, 10, 5], [0.0, 1.0, 1.0, 1.0])
    assert meter.speeds[:3].tolist() == [USUAL_SPEED] * 3
    assert meter.speeds[3] == pytest.approx(USUAL_SPEED / 2, rel=0.01)
    for _ in range(20):
        meter.add([0, 10, 10, 5], [0.0, 1.0, 1.0, 0.5])
    assert meter.speeds.tolist() == [USUAL_SPEED] * 4


def test_one_odd_round_changes_nothing() -> None:
    meter = SpeedMeter(3)
    meter.add([0, 10, 10], [0.0, 1.0, 1.6])
    assert meter.speeds.tolist() == [USUAL_SPEED] * 3


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1e6)), min_size=3, max_size=3), max_size=10
    )
)
def test_speeds_stay_usable(rounds: list[list[tuple[int, float]]]) -> None:
    meter = SpeedMeter(3)
    for pairs in rounds:
        meter.add([work for work, _ in pairs], [seconds for _, seconds in pairs])
        assert meter.speeds.dtype == np.int64
        assert (meter.speeds >= USUAL_SPEED // 4).all()
        assert (meter.speeds <= USUAL_SPEED * 4).all()


def test_speeds_of_ranks_that_are_left() -> None:
    meter = SpeedMeter(4)
    for _ in range(20):
        meter.add([0, 100, 100, 100], [0, 1, 1, 4])
    before = meter.speeds
    meter.keep([0, 1, 3])
    assert meter.speeds.tolist() == before[[0, 1, 3]].tolist()
