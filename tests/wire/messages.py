"""What the tests of the wire share: vectors to send, messages to damage, and a bitwise comparison."""

import struct
import zlib

import numpy as np
from hypothesis import strategies as st

from fedcomloc_mpi.compressors import Compressed, Levels
from fedcomloc_mpi.compressors.composed import TopKQuantize
from fedcomloc_mpi.compressors.quantize import Quantize
from fedcomloc_mpi.compressors.topk import TopK
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import encode

# The coders that need neither a reference nor an entropy coder: dense, fixed, bitmap; float32, levels.
PLAIN = 0b111 | 0b11 << 16

SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.0**-149, -(2.0**-149), 1.1754942e-38, 3.4028234663852886e38]


def values_by_hand(layout, indices, levels, scales, bits):
    """Return the float32 values that levels stand for, as docs/wire-format.md defines them."""
    layer_of = np.repeat(np.arange(len(layout.sizes)), layout.sizes)
    products = levels.astype(np.float64) * scales.astype(np.float64)[layer_of[indices]]
    return (products / (2**bits - 1)).astype(np.float32)


@st.composite
def compressed_vectors(draw, max_size=2000):
    """Any vector that a compressor could return: bits 1 to 16 or 32, all kept or not, with runs of zeros."""
    total = draw(st.one_of(st.integers(0, 40), st.integers(0, max_size)))
    cuts = sorted(draw(st.lists(st.integers(0, total), max_size=4)))
    layout = Layout(np.diff([0, *cuts, total]).tolist())
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.one_of(st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.99, 1.0]), st.floats(0, 1)))
    mask, indices = None, np.arange(total)
    if draw(st.booleans()):
        flags = random.random(total) < density
        indices = np.flatnonzero(flags)
        if indices.size < total:
            mask = np.packbits(flags, bitorder="little")
    bits = draw(st.sampled_from([*range(1, 17), 32, 32, 32]))
    zero = random.random(indices.size) < draw(st.sampled_from([0.0, 0.02, 0.3, 0.6, 0.95, 1.0]))
    if bits == 32:
        words = random.integers(0, 2**32, indices.size, dtype=np.uint32)
        values = words.view(np.float32).copy()
        values[~np.isfinite(values)] = -0.0
        special = random.random(indices.size) < draw(st.sampled_from([0.0, 0.5]))
        values[special] = random.choice(np.array(SPECIAL, dtype=np.float32), int(special.sum()))
        values[zero] = 0
        return Compressed(layout, mask, indices.size, values)
    steps = 2**bits - 1
    levels = random.integers(-steps, steps, indices.size, endpoint=True, dtype=np.int32)
    levels[zero] = 0
    scales = np.abs(random.choice(np.array(SPECIAL, dtype=np.float32), len(layout.sizes)))
    values = values_by_hand(layout, indices, levels, scales, bits)
    return Compressed(layout, mask, indices.size, values, Levels(levels, scales, bits))


def assert_same(one, other):
    """Assert that two compressed vectors are the same, bit for bit."""
    assert one.layout == other.layout and one.count == other.count
    assert (one.mask is None) == (other.mask is None)
    if one.mask is not None:
        assert one.mask.tobytes() == other.mask.tobytes()
    assert one.values.dtype == other.values.dtype and one.values.tobytes() == other.values.tobytes()
    assert (one.levels is None) == (other.levels is None)
    if one.levels is not None:
        assert one.levels.bits == other.levels.bits
        assert one.levels.levels.dtype == np.int32 and one.levels.scales.dtype == np.float32
        assert one.levels.levels.tobytes() == other.levels.levels.tobytes()
        assert one.levels.scales.tobytes() == other.levels.scales.tobytes()


LAYOUT = Layout([40, 3, 0, 157])


def samples():
    """Return messages of LAYOUT, one for each pair of plain coders and flags, by name."""
    random = np.random.default_rng(11)
    vector = random.standard_normal(LAYOUT.size).astype(np.float32)
    sparse = np.where(random.random(LAYOUT.size) < 0.3, vector, np.float32(0))
    made = {
        "dense levels": Quantize(LAYOUT, 8).compress(vector, 1),
        "dense float32": Compressed(LAYOUT, None, LAYOUT.size, vector),
        "zeros left out": Compressed(LAYOUT, None, LAYOUT.size, sparse),
        "zeros left out levels": Quantize(LAYOUT, 3, "l2").compress(vector, 1),
        "bitmap float32": TopK(LAYOUT, 0.3).compress(vector, 1),
        "bitmap levels": TopKQuantize(LAYOUT, 0.3, 5).compress(vector, 1),
        "fixed float32": TopK(LAYOUT, 0.03).compress(vector, 1),
        "fixed levels": TopKQuantize(LAYOUT, 0.03, 4).compress(vector, 1),
    }
    return {name: encode(compressed, coders=PLAIN).data.tobytes() for name, compressed in made.items()}


def sealed(message):
    """Return `message` with a checksum that matches."""
    checksum = zlib.crc32(message[:28] + message[32:])
    return message[:28] + struct.pack("<I", checksum) + message[32:]


def with_field(message, offset, form, value):
    """Return `message` with one header field changed and a checksum that matches."""
    field = struct.pack("<" + form, value)
    return sealed(message[:offset] + field + message[offset + len(field) :])
