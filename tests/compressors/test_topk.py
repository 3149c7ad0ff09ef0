from decimal import ROUND_CEILING, Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedcomloc_mpi.compressors import bitmap
from fedcomloc_mpi.compressors.topk import TopK, kept_entries, select_topk
from fedcomloc_mpi.errors import NonFiniteError
from fedcomloc_mpi.layout import Layout

# Few distinct values: ties, zeros of both signs, denormals, the extremes.
TIED = [0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 1.1754942e-38, 2.5, 3.4028235e38, -3.4028235e38]


def vectors(dtype, max_size=300):
    width = np.dtype(dtype).itemsize * 8
    anything = st.floats(allow_nan=False, allow_infinity=False, width=width)
    elements = st.one_of(st.sampled_from([float(np.float32(value)) for value in TIED]), anything)
    return hnp.arrays(dtype, st.integers(0, max_size), elements=elements)


def stable_argsort_topk(vector, k):
    """An independent reference: a stable sort by falling magnitude leaves equal ones in index order."""
    return np.sort(np.argsort(-np.abs(vector.astype(np.float64)), kind="stable")[:k])


@settings(deadline=None, max_examples=300)
@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]))
def test_selects_what_a_stable_sort_selects(data, dtype):
    vector = data.draw(vectors(dtype))
    k = data.draw(st.integers(0, vector.size))
    mask = select_topk(vector, k)
    assert mask.dtype == np.uint8 and mask.size == -(-vector.size // 8)
    assert bitmap.padding_is_clear(mask, vector.size)
    np.testing.assert_array_equal(bitmap.to_indices(mask, vector.size), stable_argsort_topk(vector, k))


@pytest.mark.parametrize("size", [1, 7, 8, 9, 63, 64, 65, 4095, 65537, 199_210])
@pytest.mark.parametrize("density", [0.001, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["normal", "ties", "mostly zero"])
def test_selects_what_a_stable_sort_selects_at_awkward_sizes(size, density, kind):
    random = np.random.default_rng(size)
    vector = random.standard_normal(size).astype(np.float32)
    if kind == "ties":
        vector = np.round(vector)
    elif kind == "mostly zero":
        vector[random.random(size) < 0.95] = -0.0
    k = kept_entries(density, size)
    mask = select_topk(vector, k)
    assert bitmap.count(mask) == k
    np.testing.assert_array_equal(bitmap.to_indices(mask, size), stable_argsort_topk(vector, k))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("k", [0, 1, 5, 10])
def test_refuses_what_is_not_finite_and_says_where(dtype, bad, k):
    vector = np.linspace(-1, 1, 10).astype(dtype)
    vector[7] = bad
    with pytest.raises(NonFiniteError, match=r"1 of 10 entries, .* at index 7"):
        select_topk(vector, k)


@pytest.mark.parametrize("k", [-1, 5])
def test_refuses_an_impossible_k(k):
    with pytest.raises(ValueError, match="between 0 and 4"):
        select_topk(np.zeros(4, dtype=np.float32), k)


@given(thousandths=st.integers(1, 1000), size=st.integers(0, 10**7))
def test_kept_entries_is_the_ceiling_in_decimal(thousandths, size):
    exact = (Decimal(thousandths) / 1000 * size).to_integral_value(ROUND_CEILING)
    assert kept_entries(thousandths / 1000, size) == exact


def test_kept_entries_of_products_that_floats_get_wrong():
    assert kept_entries(0.07, 100) == 7  # 0.07 * 100 is 7.000000000000001
    assert kept_entries(0.1, 199_210) == 19_921
    assert kept_entries(np.float64(0.1), 199_210) == 19_921
    assert kept_entries(1e-9, 5) == 1
    assert kept_entries(1.0, 0) == 0


@settings(deadline=None)
@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]), density=st.floats(0.001, 1))
def test_values_are_kept_bit_for_bit(data, dtype, density):
    vector = data.draw(vectors(dtype))
    before = vector.copy()
    compressed = TopK(Layout([vector.size]), density).compress(vector, key=0)
    assert vector.tobytes() == before.tobytes()
    assert compressed.count == kept_entries(density, vector.size)
    assert (compressed.mask is None) == (compressed.count == vector.size)
    assert compressed.values.tobytes() == vector[compressed.indices()].tobytes()
    expected = np.zeros_like(vector)
    expected[compressed.indices()] = vector[compressed.indices()]
    out = np.full_like(vector, 7)
    compressed.write_to(out)
    assert out.tobytes() == expected.tobytes()
    assert not np.shares_memory(compressed.values, vector)


def test_refuses_vectors_of_another_shape_or_dtype():
    compressor = TopK(Layout([2, 2]), 0.5)
    for vector in (np.zeros(3, np.float32), np.zeros((2, 2), np.float32), np.zeros(4, np.int32)):
        with pytest.raises(ValueError, match="vector"):
            compressor.compress(vector, key=0)
    with pytest.raises(ValueError, match="contiguous"):
        compressor.compress(np.zeros(8, np.float32)[::2], key=0)
