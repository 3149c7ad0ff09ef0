import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcomloc_mpi.metrics import bound_bytes, dense_bytes, paper_bytes


def log2_of(number: int) -> float:
    """Base-2 logarithm of an integer of any size, from the integer itself."""
    shift = max(number.bit_length() - 60, 0)
    return shift + math.log2(number >> shift)


@given(st.integers(0, 10**9), st.sampled_from([*range(1, 17), 32]))
def test_paper_bytes(kept: int, bits: int) -> None:
    assert Fraction(paper_bytes(kept, bits)) == Fraction(kept * bits, 8)


@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from([*range(1, 17), 32]), st.integers(1, 12))
def test_bound_bytes(size: int, density: float, bits: int, layers: int) -> None:
    kept = round(density * size)
    expected = log2_of(math.comb(size, kept)) / 8
    expected += 4 * kept if bits == 32 else kept * (bits + 1) / 8 + 4 * layers
    assert bound_bytes(size, kept, bits, layers) == pytest.approx(expected, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("kept", [1, 1993, 19_921, 199_209])
def test_bound_bytes_of_the_published_model(kept: int) -> None:
    size = 199_210
    expected = (log2_of(math.comb(size, kept)) + 32 * kept) / 8
    # log-gamma of 2e5 is exact to about 1e-9: bytes to far less than a bit.
    assert bound_bytes(size, kept, 32, 6) == pytest.approx(expected, rel=1e-12, abs=1e-9)


def test_known_figures() -> None:
    # An unknown support of density 0.1 costs 4.69 bits per kept entry.
    assert 8 * bound_bytes(199_210, 19_921, 32, 6) / 19_921 - 32 == pytest.approx(4.69, abs=0.005)
    assert paper_bytes(19_921, 32) == 79_684
    assert paper_bytes(19_921, 8) == 19_921
    assert dense_bytes(199_210, 10) == 7_968_400


def test_support_that_needs_no_bits() -> None:
    assert bound_bytes(199_210, 199_210, 32, 6) == 4 * 199_210
    assert bound_bytes(100, 100, 7, 3) == 100 + 12
    assert bound_bytes(100, 0, 32, 3) == 0


@pytest.mark.parametrize("kept", [-1, 11])
def test_impossible_counts(kept: int) -> None:
    with pytest.raises(ValueError, match="kept of 10"):
        bound_bytes(10, kept, 32, 1)
