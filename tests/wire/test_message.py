from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomloc_mpi.compressors import Compressed, build, kept_entries
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import Reference, available, decode, decode_add, decode_into, encode, names
from tests.wire.messages import PLAIN, assert_same, compressed_vectors


def smallest(compressed):
    """Return the size of the smallest message of the plain coders of docs/wire-format.md for a vector."""

    def size(count):
        width = (layout.size - 1).bit_length() if layout.size > 1 else 0
        index = 0 if count == layout.size else min(-(-layout.size // 8), -(-count * width // 8))
        if levels is None:
            return 32 + index + 4 * count
        return 32 + index + 4 * len(layout.sizes) + -(-count * (levels.bits + 1) // 8)

    layout, levels = compressed.layout, compressed.levels
    if compressed.mask is not None:
        return size(compressed.count)
    carried = compressed.values.view(np.uint32) if levels is None else levels.levels
    return min(size(compressed.count), size(np.count_nonzero(carried)))


@settings(deadline=None, max_examples=500)
@given(compressed=compressed_vectors())
def test_a_message_brings_back_the_vector_bit_for_bit(compressed):
    layout = compressed.layout
    plain, encoded = encode(compressed, coders=PLAIN), encode(compressed)
    assert encoded.data.dtype == np.uint8 and encoded.data.flags.c_contiguous
    assert plain.data.size == smallest(compressed) and encoded.data.size <= plain.data.size + 8
    assert_same(decode(plain.data, layout), compressed)
    assert_same(decode(encoded.data, layout), compressed)

    expected = np.full(layout.size, 7, dtype=np.float32)
    compressed.write_to(expected)
    out = np.full(layout.size, 7, dtype=np.float32)
    decode_into(encoded.data.tobytes(), layout, None, out)
    assert out.tobytes() == expected.tobytes()


@settings(deadline=None, max_examples=200)
@given(
    first=compressed_vectors(max_size=300), weight=st.sampled_from([1.0, 0.5, 1 / 3]), seed=st.integers(0, 99)
)
def test_decode_add_adds_in_float64(first, weight, seed):
    layout = first.layout
    start = np.random.default_rng(seed).standard_normal(layout.size)
    accumulator = start.copy()
    decode_add(encode(first).data, layout, None, accumulator, weight)
    vector = np.zeros(layout.size, dtype=np.float32)
    first.write_to(vector)
    expected = start + weight * vector.astype(np.float64)
    assert accumulator.tobytes() == expected.tobytes()


@pytest.mark.parametrize("size", [1, 8, 9, 4097, 65_535, 65_537, 199_210])
@pytest.mark.parametrize("density", [0.001, 0.1, 0.9, 1.0])
@pytest.mark.parametrize("bits", [1, 8, 32])
def test_awkward_sizes_from_the_compressor_to_the_receiver(size, density, bits):
    direction = SimpleNamespace(
        density=density, bits=bits, quant_norm="max", lattice="own", compressor="topk"
    )
    layout = Layout([size // 3, 0, size - size // 3])
    vector = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    compressed = build(direction, layout).compress(vector, key=3)
    assert compressed.count == kept_entries(density, size)
    plain, encoded = encode(compressed, coders=PLAIN), encode(compressed)
    assert plain.data.size == smallest(compressed) and encoded.data.size <= plain.data.size + 8
    assert_same(decode(plain.data, layout), compressed)
    assert_same(decode(encoded.data, layout), compressed)


def test_messages_of_one_vector_are_the_same_bytes():
    vector = np.random.default_rng(1).standard_normal(1000).astype(np.float32)
    compressed = [build(None, Layout([1000])).compress(vector, key) for key in (1, 2)]
    assert encode(compressed[0]).data.tobytes() == encode(compressed[1]).data.tobytes()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, np.asarray])
def test_any_buffer_at_any_alignment_is_read(kind):
    layout = Layout([100])
    vector = np.random.default_rng(1).standard_normal(100).astype(np.float32)
    data = encode(Compressed(layout, None, 100, vector)).data
    for shift in range(9):
        buffer = np.concatenate((np.zeros(shift, np.uint8), data))[shift:]
        accumulator = np.zeros(100)
        decode_add(kind(buffer), layout, None, accumulator)
        assert accumulator.tobytes() == vector.astype(float).tobytes()


def test_what_decode_returns_does_not_refer_to_the_buffer():
    layout = Layout([16])
    vector = np.arange(16, dtype=np.float32) - 3
    for mask in (None, np.array([0xF0, 0xFF], dtype=np.uint8)):
        kept = vector if mask is None else vector[4:]
        compressed = Compressed(layout, mask, kept.size, kept)
        buffer = encode(compressed).data
        decoded = decode(buffer, layout)
        buffer[:] = 0
        assert_same(decoded, compressed)


def test_a_reference_that_no_coder_needs_changes_nothing():
    layout = Layout([50])
    reference = Reference(np.ones(50, np.float32), layout)
    compressed = Compressed(layout, None, 50, np.arange(50, dtype=np.float32))
    message = encode(compressed, reference, PLAIN).data
    assert message.tobytes() == encode(compressed, coders=PLAIN).data.tobytes()
    assert_same(decode(message, layout, reference), compressed)
    assert "fingerprint" not in vars(reference)


def test_names_of_the_coders():
    assert names(PLAIN) == ("dense", "fixed", "bitmap", "float32", "levels")
    assert set(names(PLAIN)) < set(names(available()))
    layout = Layout([64])
    compressed = Compressed(layout, np.full(8, 0x0F, np.uint8), 32, np.ones(32, np.float32))
    encoded = encode(compressed, coders=PLAIN)
    assert (encoded.index_coder, encoded.value_coder) == ("bitmap", "float32")


def test_encode_refuses_what_it_cannot_carry():
    layout, ones = Layout([10]), np.ones(10, np.float32)
    wrong = [
        Compressed(layout, None, 10, ones.astype(np.float64)),
        Compressed(layout, None, 9, ones[:9]),
        Compressed(layout, None, 10, ones[:9]),
        Compressed(layout, np.zeros(1, np.uint8), 0, ones[:0]),
        Compressed(Layout([1 << 30]), np.zeros(1, np.uint8), 0, ones[:0]),
    ]
    for compressed in wrong:
        with pytest.raises(ValueError):
            encode(compressed)
    with pytest.raises(ValueError, match="another layout"):
        encode(Compressed(layout, None, 10, ones), Reference(ones, Layout([5, 5])))


def test_results_of_another_shape_are_refused():
    layout = Layout([10])
    message = encode(Compressed(layout, None, 10, np.ones(10, np.float32))).data
    with pytest.raises(ValueError, match="shape"):
        decode_add(message, layout, None, np.zeros(9))
    with pytest.raises(ValueError, match="shape"):
        decode_into(message, layout, None, np.zeros(11, np.float32))
