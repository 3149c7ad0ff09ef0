import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcomloc_mpi.algorithms import stepsize


def test_constant() -> None:
    assert {stepsize("constant", 0.3, number, None, 0.5) for number in range(1, 50)} == {0.3}


def test_step() -> None:
    expected = [0.4] * 3 + [0.2] * 3 + [0.1] * 3
    assert [stepsize("step", 0.4, number, 3, 0.5) for number in range(1, 10)] == pytest.approx(expected)


def test_cosine_from_the_first_to_the_last() -> None:
    values = [stepsize("cosine", 0.4, number, 10, 0.25) for number in range(1, 14)]
    assert values[0] == pytest.approx(0.4)
    assert values[5] == pytest.approx(0.25)  # half way: the mean of both ends
    assert values[10:] == pytest.approx([0.1] * 3)
    assert all(a >= b for a, b in itertools.pairwise(values))


@given(
    schedule=st.sampled_from(["step", "cosine"]),
    number=st.integers(1, 10**6),
    decay=st.integers(1, 10**6),
    factor=st.floats(0.001, 1),
)
def test_is_positive_and_never_above_the_first(schedule: str, number: int, decay: int, factor: float) -> None:
    value = stepsize(schedule, 0.1, number, decay, factor)
    assert value <= 0.1 * (1 + 1e-15)
    assert value > 0 or (schedule == "step" and factor ** ((number - 1) // decay) < 1e-300)
    assert math.isfinite(value)


def test_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="needs a number of rounds"):
        stepsize("cosine", 0.1, 1, None, 0.5)
    with pytest.raises(ValueError, match="unknown schedule"):
        stepsize("linear", 0.1, 1, 5, 0.5)
