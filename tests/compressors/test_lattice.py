import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomloc_mpi.compressors.lattice import LatticeQuantize, lattice_steps
from fedcomloc_mpi.compressors.topk import TopK
from fedcomloc_mpi.errors import NonFiniteError
from fedcomloc_mpi.layout import Layout


def test_steps_are_powers_of_two_just_large_enough():
    maxima = np.array([0, 1, 255, 256, 254.9999, 2.0**-149, 3.4e38, 510], dtype=np.float32)
    steps = lattice_steps(maxima, 8)
    assert steps[[0, 1, 2, 3, 7]].tolist() == [0, 2.0**-7, 1, 2, 2]
    assert steps[4] == 1 and steps[5] == 2.0**-126 and steps[6] == 2.0**96


@given(maximum=st.floats(2.0**-100, 2.0**90, width=32), bits=st.integers(1, 16))
def test_no_smaller_step_would_do(maximum, bits):
    (step,) = lattice_steps(np.array([maximum], dtype=np.float32), bits).tolist()
    assert np.frexp(step)[0] == 0.5
    assert maximum <= (2**bits - 1) * step and maximum > (2**bits - 1) * step / 2


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), density=st.sampled_from([0.1, 0.5, 1.0]), bits=st.integers(1, 16))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_entries_are_rounded_up_or_down_to_the_lattice_of_the_reference(seed, density, bits, dtype):
    random = np.random.default_rng(seed)
    layout = Layout([20, 0, 33, 7])
    reference = random.standard_normal(60).astype(dtype)
    reference[53:] = 0
    vector = (reference + 0.1 * random.standard_normal(60)).astype(dtype)
    compressed = LatticeQuantize(layout, density, bits).compress(vector, seed, reference)
    kept = TopK(layout, density).compress(vector, seed)
    assert compressed.indices().tolist() == kept.indices().tolist()
    levels = compressed.levels
    assert levels is not None and levels.lattice == 1 and levels.steps == 1 and levels.key == seed
    expected = lattice_steps(
        np.array([np.abs(reference[:20]).max(), 0, np.abs(reference[20:53]).max()], dtype), bits
    )
    assert levels.scales[:3].tolist() == expected.tolist()
    own = [abs(vector[i]) for i in kept.indices().tolist() if i >= 53]
    assert levels.scales[3] == lattice_steps(np.array([max(own, default=0)], dtype), bits)[0]
    steps = np.repeat(levels.scales, layout.sizes)[compressed.indices()].astype(np.float64)
    assert compressed.values.tolist() == (levels.levels * steps).astype(dtype).tolist()
    assert np.all(
        np.abs(compressed.values.astype(np.float64) - vector[compressed.indices()]) < steps * 1.0001
    )


def test_rounding_is_unbiased():
    layout = Layout([4])
    vector = np.array([0.3, -0.7, 0.011, 1.0], dtype=np.float32)
    compressor = LatticeQuantize(layout, 1.0, 3)
    mean = np.mean([compressor.compress(vector, key, vector).values for key in range(4000)], axis=0)
    np.testing.assert_allclose(mean, vector, atol=0.01)


def test_entries_far_beyond_the_reference_are_never_clipped():
    layout = Layout([3])
    reference = np.array([1, 0.5, 0], dtype=np.float32)
    vector = np.array([1e6, -2e6, 0], dtype=np.float32)
    compressed = LatticeQuantize(layout, 1.0, 8).compress(vector, 1, reference)
    np.testing.assert_allclose(compressed.values, vector, rtol=1e-6)
    with pytest.raises(NonFiniteError, match="beyond 2\\^31 steps"):
        LatticeQuantize(layout, 1.0, 8).compress(vector * 100, 1, reference)


def test_without_a_reference_every_layer_has_its_own_step():
    vector = np.array([1, -0.3, 0, 7], dtype=np.float32)
    compressed = LatticeQuantize(Layout([2, 2]), 1.0, 4).compress(vector, 1)
    assert compressed.levels is not None
    assert compressed.levels.scales.tolist() == lattice_steps(np.array([1, 7], np.float32), 4).tolist()
