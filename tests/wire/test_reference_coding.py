"""Messages coded against a reference: every pair of coders, every disagreement noticed, hostile sections."""

import zlib
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomloc_mpi.compressors.composed import TopKQuantize
from fedcomloc_mpi.compressors.compressed import Compressed, Levels
from fedcomloc_mpi.compressors.identity import Identity
from fedcomloc_mpi.compressors.lattice import lattice_steps
from fedcomloc_mpi.compressors.quantize import Quantize
from fedcomloc_mpi.compressors.topk import TopK
from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.kernels import native, twins
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import Reference, available, decode, decode_add, encode
from fedcomloc_mpi.wire.index_coders import INDEX_CODERS
from fedcomloc_mpi.wire.value_coders import VALUE_CODERS

LAYOUT = Layout([300, 7, 0, 193])


def only(index, value):
    """The set of these two coders."""
    return 1 << index | 1 << (16 + value)


def near(vector, random, spread=1e-3):
    """A vector that differs little from `vector`, zeros of it staying zeros."""
    return (vector * (1 + spread * random.standard_normal(vector.size))).astype(np.float32)


def on_lattice(vector, reference, bits, k, key, averaged=1):
    """What a client sends with the shared lattice."""
    layout = reference.layout
    mask = None if k == layout.size else twins.select(vector, k)
    values = vector if mask is None else twins.gather(vector, mask, k)
    steps = reference.lattice_steps(bits)
    own = lattice_steps(twins.layer_maxima(values, mask, layout), bits)
    steps = np.where(steps == 0, own, steps)
    levels = twins.quantize(values, mask, layout, steps, averaged, 2**31 - 1, key)
    found = twins.dequantize(levels, mask, layout, steps, averaged)
    return Compressed(layout, mask, k, found, Levels(levels, steps, bits, averaged, key))


def assert_same(one, other):
    assert (one.count, one.layout) == (other.count, other.layout)
    assert (one.mask is None) == (other.mask is None)
    assert one.mask is None or one.mask.tobytes() == other.mask.tobytes()
    assert one.values.tobytes() == other.values.tobytes()
    assert (one.levels is None) == (other.levels is None)
    if one.levels is not None:
        assert one.levels.levels.tobytes() == other.levels.levels.tobytes()
        assert one.levels.scales.tobytes() == other.levels.scales.tobytes()
        assert (one.levels.bits, one.levels.lattice) == (other.levels.bits, other.levels.lattice)


def vectors(layout, random):
    """Compressed vectors of every kind, near a reference, with that reference."""
    base = random.standard_normal(layout.size).astype(np.float32)
    base[random.random(layout.size) < 0.3] = 0
    reference = Reference(base, layout)
    vector = near(base, random)
    yield TopK(layout, 0.2).compress(vector, 0), reference
    yield TopKQuantize(layout, 0.2, 8).compress(vector, 7), reference
    yield Quantize(layout, 5, "l2").compress(vector, 7), reference
    yield Identity(layout).compress(vector, 0), reference
    yield on_lattice(vector, reference, 6, layout.size // 4, 9), reference
    yield on_lattice(vector, reference, 6, layout.size, None, 10), reference


def every_message(layout=LAYOUT, seed=3):
    """Yield (index coder, value coder, message, compressed, reference) for all coders that can write each vector."""
    for compressed, reference in vectors(layout, np.random.default_rng(seed)):
        for index in INDEX_CODERS:
            for value in VALUE_CODERS:
                if only(index, value) & ~available():
                    continue
                for known in (reference, None):
                    try:
                        encoded = encode(compressed, known, only(index, value))
                    except ValueError:
                        continue
                    yield index, value, encoded.data.tobytes(), compressed, reference


MESSAGES = list(every_message())


def test_every_coder_is_in_use():
    indices, values = {each[0] for each in MESSAGES}, {each[1] for each in MESSAGES}
    assert indices == {number for number in INDEX_CODERS if available() >> number & 1}
    assert values == {number for number in VALUE_CODERS if available() >> (16 + number) & 1}


@pytest.mark.parametrize("number", range(len(MESSAGES)))
def test_every_coder_brings_the_vector_back(number):
    index, value, message, compressed, reference = MESSAGES[number]
    assert (message[4], message[5]) == (index, value)
    assert_same(decode(message, LAYOUT, reference), compressed)
    sums = np.ones(LAYOUT.size)
    decode_add(message, LAYOUT, reference, sums, 2.0)
    expected = np.zeros(LAYOUT.size)
    compressed.write_to(expected)
    assert sums.tobytes() == (1 + 2.0 * expected).tobytes()


@settings(max_examples=40)
@given(
    size=st.one_of(st.integers(0, 40), st.integers(0, 3000)),
    density=st.sampled_from([0.001, 0.1, 0.5, 0.9, 1.0]),
    bits=st.sampled_from([1, 4, 8, 16, 32]),
    spread=st.sampled_from([0.0, 1e-6, 1e-2, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_vector_comes_back(size, density, bits, spread, seed):
    random = np.random.default_rng(seed)
    layout = Layout([size // 3, size - size // 3])
    base = random.standard_normal(size).astype(np.float32)
    base[random.random(size) < random.choice([0.0, 0.5, 1.0])] = random.choice(
        np.array([0.0, -0.0], np.float32)
    )
    vector, reference = near(base, random, spread), Reference(base, layout)
    compressor = TopK(layout, density) if bits == 32 else TopKQuantize(layout, density, bits)
    for compressed in (compressor.compress(vector, seed), Identity(layout).compress(vector, 0)):
        encoded = encode(compressed, reference)
        assert_same(decode(encoded.data, layout, reference), compressed)
        assert encoded.data.size <= encode(compressed).data.size + 8
        assert_same(decode(encode(compressed).data, layout), compressed)


def test_another_reference_or_none_is_noticed():
    for _, _, message, compressed, reference in MESSAGES:
        if not message[3] & 1:
            assert_same(decode(message, LAYOUT), compressed)
            continue
        other = reference.vector.copy()
        other[-1] = np.nextafter(other[-1], np.float32(9))
        with pytest.raises(MessageError, match=f"reference {reference.fingerprint:016x}"):
            decode(message, LAYOUT, Reference(other, LAYOUT))
        with pytest.raises(MessageError, match="there is none here"):
            decode(message, LAYOUT)


def sealed(message):
    return message[:28] + zlib.crc32(message[:28] + message[32:]).to_bytes(4, "little") + message[32:]


def survives(message, reference):
    try:
        found = decode(message, LAYOUT, reference)
    except MessageError as error:
        assert "\n" not in str(error)
        return False
    assert found.values.size == found.count == found.indices().size
    assert np.all(np.isfinite(found.values))
    return True


def test_hostile_sections_under_a_matching_checksum():
    random = Random(5)
    survived = 0
    for _ in range(20_000):
        _, _, message, _, reference = random.choice(MESSAGES)
        damaged = bytearray(message)
        start = 40 if message[3] & 1 else 32
        for _ in range(random.randint(1, 4)):
            damaged[random.randrange(start, len(damaged))] = random.choice(
                [0, 1, 127, 128, 255, random.randrange(256)]
            )
        if random.random() < 0.2:
            damaged[random.choice([3, 4, 5, 6, 16])] = random.randrange(40)
        survived += survives(sealed(bytes(damaged)), reference)
    assert survived > 500


def test_every_flipped_bit_is_noticed():
    for _, _, message, _, reference in MESSAGES[:: len(MESSAGES) // 12]:
        for bit in range(8 * len(message)):
            damaged = bytearray(message)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises(MessageError):
                decode(bytes(damaged), LAYOUT, reference)
            survives(sealed(bytes(damaged)), reference)


@pytest.mark.skipif(native.library() is None, reason="the package was installed without a compiler")
def test_a_message_is_smaller_with_its_reference():
    layout = Layout([20_000, 100])
    random = np.random.default_rng(0)
    base = random.standard_normal(layout.size).astype(np.float32)
    reference, vector = Reference(base, layout), near(base, random, 1e-4)
    for compressor, share in ((TopK(layout, 0.1), 0.5), (TopKQuantize(layout, 0.1, 8), 0.2)):
        compressed = compressor.compress(vector, 3)
        assert encode(compressed, reference).data.size < share * encode(compressed).data.size


def test_the_lattice_steps_are_powers_of_two_just_large_enough():
    maxima = np.array([0, 1, 255, 256, 254.9999, 2.0**-149, 3.4e38, 510], dtype=np.float32)
    steps = lattice_steps(maxima, 8)
    assert steps[[0, 1, 2, 3, 7]].tolist() == [0, 2.0**-7, 1, 2, 2]
    assert steps[4] == 1 and steps[5] == 2.0**-126 and steps[6] == 2.0**96
