import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomloc_mpi.compressors.composed import TopKQuantize
from fedcomloc_mpi.compressors.quantize import Quantize
from fedcomloc_mpi.compressors.topk import TopK
from fedcomloc_mpi.errors import NonFiniteError
from fedcomloc_mpi.kernels.twins import quantization
from fedcomloc_mpi.layout import Layout

MASK = (1 << 64) - 1
FLOATS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 2.0**-149, -(2.0**-149), 3.4028234663852886e38]),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
)


def splitmix_uniform(key, index):
    z = (key + (index + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return ((z ^ (z >> 31)) >> 11) / 2**53


def by_hand(vector, sizes, bits, key):
    """Q_r with the maximum norm as its definition has it, entry by entry in Python."""
    steps, levels, values, start = 2**bits - 1, [], [], 0
    for size in sizes:
        layer = [float(value) for value in vector[start : start + size]]
        scale = max((abs(value) for value in layer), default=0.0)
        for offset, value in enumerate(layer):
            level = 0
            if scale:
                level = math.floor(abs(value) / scale * steps + splitmix_uniform(key, start + offset))
                level = min(level, steps) * (-1 if value < 0 else 1)
            levels.append(level)
            values.append(level * scale / steps)
        start += size
    return levels, np.array(values, dtype=np.float32)


@settings(deadline=None, max_examples=200)
@given(
    sizes=st.lists(st.integers(0, 40), max_size=6),
    bits=st.integers(1, 16),
    key=st.integers(0, MASK),
    data=st.data(),
)
def test_agrees_with_the_definition_entry_by_entry(sizes, bits, key, data):
    vector = np.array(data.draw(st.lists(FLOATS, min_size=sum(sizes), max_size=sum(sizes))), dtype=np.float32)
    compressed = Quantize(Layout(sizes), bits).compress(vector, key)
    levels, values = by_hand(vector, sizes, bits, key)
    assert compressed.levels is not None and compressed.levels.bits == bits
    assert compressed.levels.levels.tolist() == levels
    assert compressed.values.tobytes() == values.tobytes()
    assert compressed.mask is None and compressed.count == vector.size


@pytest.mark.parametrize("norm", ["max", "l2"])
@pytest.mark.parametrize("bits", [1, 4, 16])
@pytest.mark.parametrize("density", [1.0, 0.3])
def test_is_unbiased(norm, bits, density):
    """Hoeffding: all means lie within step * sqrt(ln(2 d / 1e-9) / (2 K)) but for one case in 10^9."""
    layout, draws = Layout([50, 150]), 1500
    vector = np.random.default_rng(0).standard_normal(200).astype(np.float32)
    vector[:50] *= 100
    compressor = TopKQuantize(layout, density, bits, norm)
    kept = TopK(layout, density).compress(vector, key=0)
    total = np.zeros(kept.count)
    for key in range(draws):
        # Keys as a run makes them are well mixed; consecutive ones would be shifted streams.
        compressed = compressor.compress(vector, (key * 0xD1342543DE82EF95 + 1) & MASK)
        total += compressed.values
    assert compressed.levels is not None
    step = np.where(kept.indices() < 50, *compressed.levels.scales.astype(float)) / (2**bits - 1)
    bound = step * math.sqrt(math.log(2 * kept.count / 1e-9) / (2 * draws))
    # Plus what rounding the values to float32 may add.
    assert np.all(np.abs(total / draws - kept.values) <= bound + 2.0**-23 * np.abs(kept.values))


@settings(deadline=None)
@given(bits=st.integers(1, 16), norm=st.sampled_from(["max", "l2"]), key=st.integers(0, MASK), data=st.data())
def test_levels_stay_in_range_and_values_follow_from_them(bits, norm, key, data):
    vector = np.array(data.draw(st.lists(FLOATS, min_size=1, max_size=50)), dtype=np.float32)
    layout = Layout([vector.size])
    try:
        compressed = Quantize(layout, bits, norm).compress(vector, key)
    except NonFiniteError:
        assert norm == "l2" and np.sqrt(np.sum(vector.astype(float) ** 2)) > 3.4e38
        return
    levels = compressed.levels
    assert levels is not None and levels.levels.dtype == np.int32 and levels.scales.dtype == np.float32
    steps = 2**bits - 1
    assert np.all(np.abs(levels.levels) <= steps)
    assert np.all(levels.levels * vector.astype(float) >= 0)
    expected = (levels.levels.astype(float) * float(levels.scales[0]) / steps).astype(np.float32)
    assert compressed.values.tobytes() == expected.tobytes()
    assert np.all(
        np.abs(compressed.values.astype(float) - vector) <= float(levels.scales[0]) / steps * 1.0001 + 2e-45
    )


def test_the_l2_scale_is_the_norm_of_each_layer():
    vector = np.array([3, -4, 0, 0, 1e30, 1e30, 1e-30], dtype=np.float32)
    levels = Quantize(Layout([2, 2, 2, 1]), 8, "l2").compress(vector, 1).levels
    assert levels is not None
    expected = np.array([5, 0, math.sqrt(2) * float(vector[4]), vector[6]], dtype=np.float32)
    np.testing.assert_array_equal(levels.scales, expected)


def test_an_l2_norm_that_overflows_is_refused():
    vector = np.full(4, 3.4e38, dtype=np.float32)
    with pytest.raises(NonFiniteError, match="overflows float32"):
        Quantize(Layout([4]), 8, "l2").compress(vector, 1)


def test_the_largest_entry_never_exceeds_the_top_level(monkeypatch):
    monkeypatch.setattr(quantization, "uniforms", lambda key, indices: np.full(len(indices), 1 - 2.0**-53))
    vector = np.array([1.0, -1.0, 0.3])  # float64 is rounded in numpy
    for bits in (1, 8, 16):
        levels = Quantize(Layout([3]), bits).compress(vector, 1).levels
        assert levels is not None and levels.levels[:2].tolist() == [2**bits - 1, 1 - 2**bits]


def test_depends_on_the_key_and_on_nothing_else():
    vector = np.random.default_rng(1).standard_normal(1000).astype(np.float32)
    compressor = Quantize(Layout([1000]), 4)
    first, again, other = (compressor.compress(vector, key).values for key in (5, 5, 6))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_an_entry_is_rounded_alike_whatever_else_is_kept():
    vector = np.random.default_rng(2).standard_normal(500).astype(np.float32)
    layout = Layout([200, 300])
    dense = Quantize(layout, 6).compress(vector, 3)
    sparse = TopKQuantize(layout, 0.2, 6).compress(vector, 3)
    # The maximum norm is the same, since TopK keeps each layer's largest entry here.
    assert sparse.values.tobytes() == dense.values[sparse.indices()].tobytes()


def test_composed_keeps_the_support_of_topk():
    vector = np.random.default_rng(3).standard_normal(777).astype(np.float32)
    layout = Layout([77, 0, 700])
    kept = TopK(layout, 0.1).compress(vector, 0)
    both = TopKQuantize(layout, 0.1, 1).compress(vector, 0)
    assert kept.mask is not None and both.mask is not None
    assert both.mask.tobytes() == kept.mask.tobytes() and both.count == kept.count == 78
    assert np.any(both.values == 0), "an entry that rounds to 0 stays in the support"


def test_float64_stays_float64():
    vector = np.random.default_rng(4).standard_normal(100)
    compressed = TopKQuantize(Layout([100]), 0.5, 16).compress(vector, 0)
    assert compressed.levels is not None
    assert compressed.values.dtype == compressed.levels.scales.dtype == np.float64
    assert compressed.levels.scales[0] == np.abs(vector).max()
    np.testing.assert_allclose(compressed.values, vector[compressed.indices()], atol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_refuses_what_is_not_finite(bad):
    vector = np.ones(10, dtype=np.float32)
    vector[3] = bad
    for compressor in (Quantize(Layout([10]), 8), TopKQuantize(Layout([10]), 1.0, 8)):
        with pytest.raises(NonFiniteError, match="index 3"):
            compressor.compress(vector, 0)


@pytest.mark.parametrize(("bits", "norm"), [(0, "max"), (17, "max"), (8, "l1")])
def test_refuses_unknown_quantization(bits, norm):
    with pytest.raises(ValueError, match="must be"):
        Quantize(Layout([1]), bits, norm)
    with pytest.raises(ValueError, match="must be"):
        TopKQuantize(Layout([1]), 0.5, bits, norm)
