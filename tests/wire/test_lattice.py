"""A mean of vectors on the shared lattice travels as sums of levels, and comes back bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors import Compressed
from fedcomloc_mpi.compressors.lattice import LatticeQuantize
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import ALWAYS, Reference, decode_add, decode_into, encode
from fedcomloc_mpi.wire.lattice import mean_levels

LAYOUT = Layout([300, 7, 0, 193])


def cohort(random, size, bits, density, zero_layers=(1,)):
    """Return (reference, uploads) of a cohort near a reference that is all zero in some layers."""
    base = (random.standard_normal(LAYOUT.size) * np.exp(random.uniform(-8, 3))).astype(np.float32)
    for layer in zero_layers:
        base[LAYOUT.offsets[layer] : LAYOUT.offsets[layer + 1]] = 0
    compressor = LatticeQuantize(LAYOUT, density, bits)
    near = [(base + 0.1 * random.standard_normal(LAYOUT.size)).astype(np.float32) for _ in range(size)]
    return Reference(base, LAYOUT), [compressor.compress(v, key, base) for key, v in enumerate(near)]


def mean_of(uploads, reference):
    """What the server computes: a float64 sum of what the messages hold, in order, divided."""
    total = np.zeros(LAYOUT.size)
    for upload in uploads:
        decode_add(encode(upload, reference).data, LAYOUT, reference, total)
    return (total / len(uploads)).astype(np.float32)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 40),
    bits=st.integers(1, 12),
    density=st.sampled_from([0.05, 0.3, 1.0]),
    zero_layers=st.sampled_from([(), (1,), (0, 1), (0, 1, 2, 3)]),
)
@pytest.mark.parametrize("coders", [ALWAYS, None], ids=["numpy", "all"])
def test_the_mean_is_levels_of_the_lattice(seed, size, bits, density, zero_layers, coders):
    reference, uploads = cohort(np.random.default_rng(seed), size, bits, density, zero_layers)
    model = mean_of(uploads, reference)
    levels = mean_levels(model, size, reference, bits)
    assert levels is not None and levels.lattice == levels.steps == size
    # The sums of the uploads' levels, where their steps are the reference's.
    if not zero_layers:
        sums = np.zeros(LAYOUT.size, dtype=np.int64)
        for upload in uploads:
            sums[upload.indices()] += upload.levels.levels
        assert levels.levels.tolist() == sums.tolist()
    message = encode(Compressed(LAYOUT, None, LAYOUT.size, model, levels), reference, coders)
    assert message.value_coder in ("lattice-differences", "lattice-levels")
    received = np.empty(LAYOUT.size, dtype=np.float32)
    decode_into(message.data, LAYOUT, reference, received)
    assert received.tobytes() == model.tobytes()


def test_it_is_smaller_than_float32():
    reference, uploads = cohort(np.random.default_rng(1), 10, 6, 0.2, ())
    model = mean_of(uploads, reference)
    plain = Compressed(LAYOUT, None, LAYOUT.size, model)
    levels = mean_levels(model, 10, reference, 6)
    on_lattice = encode(Compressed(LAYOUT, None, LAYOUT.size, model, levels), reference)
    assert on_lattice.data.size < 0.6 * encode(plain, reference).data.size
    if kernels.COMPILED:
        assert on_lattice.value_coder == "lattice-differences"


def test_what_is_not_a_plain_mean_is_not_taken_for_one():
    random = np.random.default_rng(2)
    reference, uploads = cohort(random, 10, 8, 0.5)
    model = mean_of(uploads, reference)
    model[0] = 0
    negative_zero = model.copy()
    negative_zero[0] = -0.0

    def is_mean(vector, averaged=10):
        return mean_levels(vector, averaged, reference, 8) is not None

    assert is_mean(model)
    assert not is_mean(model, 7)
    assert not is_mean(model * np.float32(0.7))
    assert not is_mean(np.nextafter(model, np.float32(9)))
    assert not is_mean(negative_zero)
