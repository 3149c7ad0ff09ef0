"""What only the compiled coders can show in reasonable time: sizes, long vectors, the same bytes from numpy."""

import math

import numpy as np
import pytest

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors import Compressor, Identity
from fedcomloc_mpi.compressors.composed import TopKQuantize
from fedcomloc_mpi.compressors.lattice import LatticeQuantize
from fedcomloc_mpi.compressors.topk import TopK
from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.kernels import twins
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import Reference, decode, decode_add, decode_into, encode
from tests.wire.test_reference_coding import assert_same

pytestmark = pytest.mark.skipif(not kernels.COMPILED, reason="the package was installed without a compiler")


def log2_binomial(n, k):
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)


@pytest.mark.parametrize(
    ("size", "density"),
    [
        (10**5, 0.1),
        (10**5, 0.3),
        (10**5, 0.5),
        (10**6, 0.01),
        (10**6, 0.1),
        (10**6, 0.5),
        (10**6, 0.9),
        (10**7, 0.001),
    ],
)
def test_random_supports_take_one_percent_more_than_the_bound_at_most(size, density):
    vector = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    compressed = TopK(Layout([size]), density).compress(vector, 0)
    message = encode(compressed).data
    value_bytes = int.from_bytes(message[20:24].tobytes(), "little")
    bound = log2_binomial(size, compressed.count) / 8
    assert bound < message.size - value_bytes < 1.01 * bound


def near(vector, random):
    return (vector * (1 + 1e-3 * random.standard_normal(vector.size))).astype(np.float32)


@pytest.mark.parametrize("size", [2**24 - 1, 2**24 + 3])
@pytest.mark.parametrize("density", [0.02, 1.0])
def test_long_vectors_come_back_bit_for_bit(size, density):
    random = np.random.default_rng(size)
    layout = Layout([size // 3, 0, size - size // 3])
    base = random.standard_normal(size, dtype=np.float32)
    base[random.random(size, dtype=np.float32) < 0.5] = 0
    base[::1001] = -0.0
    reference = Reference(base, layout)
    vector = base.copy()
    vector[::7] *= np.float32(1.001)
    compressor: Compressor = TopKQuantize(layout, density, 8) if density < 1 else Identity(layout)
    compressed = compressor.compress(vector, 1)
    expected, found = np.empty(size, dtype=np.float32), np.empty(size, dtype=np.float32)
    compressed.write_to(expected)
    for known in (reference, None):
        message = encode(compressed, known).data
        decode_into(message, layout, known, found)
        assert np.array_equal(found.view(np.uint32), expected.view(np.uint32))
    other = base.copy()
    other[size - 1] += 1
    message = encode(compressed, reference).data
    with pytest.raises(MessageError, match="coded against reference"):
        decode_add(message, layout, Reference(other, layout), np.zeros(size))


@pytest.mark.parametrize(
    ("kind", "against"),
    [(kind, known) for kind in ("topk", "quantized", "dense") for known in ("reference", "nothing")]
    + [("lattice", "reference")],
)
def test_numpy_writes_and_reads_the_same_bytes(kind, against, monkeypatch):
    size = 100_000 if kind != "dense" else 20_000
    random = np.random.default_rng(5)
    layout = Layout([size // 2, 17, size - size // 2 - 17])
    base = random.standard_normal(size).astype(np.float32)
    base[random.random(size) < 0.8] = 0
    vector = near(base, random) + np.where(random.random(size) < 0.001, np.float32(1), np.float32(0))
    compressors: dict[str, Compressor] = {
        "topk": TopK(layout, 0.1),
        "quantized": TopKQuantize(layout, 0.1, 8),
        "lattice": LatticeQuantize(layout, 0.1, 8),
        "dense": Identity(layout),
    }

    def make():
        reference = Reference(base, layout) if against == "reference" else None
        compressed = compressors[kind].compress(vector, 7, base)
        return compressed, reference, encode(compressed, reference)

    compressed, _, message = make()
    for name in kernels.__all__:
        if hasattr(twins, name):
            monkeypatch.setattr(kernels, name, getattr(twins, name))
    again, reference, other = make()
    assert_same(again, compressed)
    assert (other.index_coder, other.value_coder) == (message.index_coder, message.value_coder)
    assert other.data.tobytes() == message.data.tobytes()
    assert_same(decode(message.data, layout, reference), compressed)
