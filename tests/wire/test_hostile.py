"""Hostile bytes: whatever arrives, the answer is a vector or a MessageError, in bounded memory."""

import struct
import tracemalloc
from random import Random

import numpy as np
import pytest

from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import decode, decode_add
from tests.wire.messages import LAYOUT, samples, sealed, with_field

SAMPLES = samples()
each_sample = pytest.mark.parametrize("message", SAMPLES.values(), ids=SAMPLES.keys())


def refused(message, match=None):
    accumulator = np.full(LAYOUT.size, 0.25)
    with pytest.raises(MessageError, match=match):
        decode_add(message, LAYOUT, None, accumulator)
    assert np.all(accumulator == 0.25), "a refused message must leave the accumulator alone"


def survives(message):
    """Decode, and check what comes out, if anything does."""
    try:
        compressed = decode(message, LAYOUT)
    except MessageError as error:
        assert "\n" not in str(error)
        return False
    assert compressed.values.size == compressed.count == compressed.indices().size
    assert np.all(np.isfinite(compressed.values))
    compressed.write_to(np.empty(LAYOUT.size, dtype=np.float32))
    return True


def test_the_samples_are_of_every_kind():
    assert {(data[3], data[4], data[5]) for data in SAMPLES.values()} == {
        (0, 0, 0), (0, 0, 1), (2, 2, 0), (2, 2, 1), (0, 2, 0), (0, 2, 1), (0, 1, 0), (0, 1, 1)
    }  # fmt: skip
    assert all(survives(message) for message in SAMPLES.values())


@each_sample
def test_truncated_or_prolonged(message):
    for length in range(len(message)):
        refused(message[:length])
    for extra in (b"\0", b"\0" * 8, message):
        refused(message + extra)


@each_sample
def test_every_flipped_bit_is_noticed(message):
    for bit in range(8 * len(message)):
        damaged = bytearray(message)
        damaged[bit // 8] ^= 1 << bit % 8
        refused(bytes(damaged))


@each_sample
def test_every_flipped_bit_under_a_matching_checksum_is_survived(message):
    for bit in range(8 * len(message)):
        damaged = bytearray(message)
        damaged[bit // 8] ^= 1 << bit % 8
        survives(sealed(bytes(damaged)))


def test_spliced():
    random = Random(1)
    messages = list(SAMPLES.values())
    for _ in range(5000):
        one, other = random.choice(messages), random.choice(messages)
        spliced = one[: random.randrange(len(one) + 1)] + other[random.randrange(len(other) + 1) :]
        if spliced not in messages:
            refused(spliced)
        if len(spliced) >= 32:
            survives(sealed(spliced))


def test_random_bytes():
    random = Random(2)
    for _ in range(5000):
        message = random.randbytes(random.randrange(300))
        refused(message)
        if len(message) >= 32:
            survives(sealed(b"FC\x01" + message[3:]))


def test_header_fields_that_lie_under_a_matching_checksum():
    random = Random(3)
    messages = list(SAMPLES.values())
    decoded = 0
    for _ in range(10_000):
        message = random.choice(messages)
        for _ in range(random.randint(1, 4)):
            value = random.choice([random.randrange(20), 32, 200, 2**30, 2**31 - 1, 2**32 - 1])
            if random.random() < 0.5:
                message = with_field(message, random.randrange(3, 7), "B", value % 256)
            else:
                message = with_field(message, random.randrange(8, 28, 4), "I", value)
        decoded += survives(message)
    assert decoded > 50, "some lies should make a valid message, or the test reaches no coder"


def test_sections_that_lie_under_a_matching_checksum():
    random = Random(4)
    messages = list(SAMPLES.values())
    decoded = 0
    for _ in range(5000):
        message = bytearray(random.choice(messages))
        for _ in range(random.randint(1, 8)):
            message[random.randrange(32, len(message))] = random.choice(
                [0, 1, 127, 128, 255, random.randrange(256)]
            )
        decoded += survives(sealed(bytes(message)))
    assert decoded > 500


def test_lies_about_sizes_allocate_nothing():
    layout = Layout([LAYOUT.size])
    tracemalloc.start()
    try:
        for index_coder in range(7):
            for value_coder in range(9):
                for size in (200, 2**30 - 1, 2**32 - 1):
                    for count in (0, 200, 2**30 - 1, 2**32 - 1):
                        for lengths in ((0, 0), (4 * count % 2**32, 0), (2**32 - 1, 2**32 - 1)):
                            fields = (0, index_coder, value_coder, 16, 0, 1, size, count, *lengths, 0)
                            message = sealed(struct.pack("<2s6B6I", b"FC", 1, *fields))
                            with pytest.raises(MessageError):
                                decode(message, layout)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_memory_is_bounded_by_the_layout():
    tracemalloc.start()
    try:
        for message in SAMPLES.values():
            tracemalloc.reset_peak()
            survives(message)
            _, peak = tracemalloc.get_traced_memory()
            assert peak < 100_000 + 100 * LAYOUT.size
    finally:
        tracemalloc.stop()


DENSE, SPARSE, LEVELS = SAMPLES["dense float32"], SAMPLES["fixed float32"], SAMPLES["fixed levels"]
BITMAP = SAMPLES["bitmap levels"]


@pytest.mark.parametrize(
    ("message", "match"),
    [
        (b"", "cut short: 0 bytes"),
        (DENSE[:31], "cut short: 31 bytes"),
        (b"\x80\x04" + DENSE[2:], "not a message"),
        (with_field(DENSE, 2, "B", 9), "version 9; this program reads version 1"),
        (with_field(DENSE, 3, "B", 8), "unknown flags"),
        (with_field(DENSE, 7, "B", 1), "unknown flags"),
        (
            with_field(DENSE, 4, "B", 77),
            "index coder 77 is unknown; known are 0 .dense., 1 .fixed., 2 .bitmap.",
        ),
        (with_field(DENSE, 5, "B", 78), "value coder 78 is unknown; known are 0 .float32., 1 .levels."),
        (with_field(DENSE, 6, "B", 8), "float32 values, but 8 bits"),
        (with_field(LEVELS, 6, "B", 0), "levels of 0 bits"),
        (with_field(LEVELS, 6, "B", 17), "levels of 17 bits"),
        (with_field(LEVELS, 6, "B", 5), "takes .* bytes, not"),
        (with_field(DENSE, 8, "I", 3), "another model: 200 entries in 3 layers, not 200 in 4"),
        (with_field(DENSE, 12, "I", 201), "another model: 201 entries"),
        (with_field(DENSE, 16, "I", 201), "carries 201 of 200"),
        (with_field(DENSE, 16, "I", 199), "dense, but 199 of 200"),
        (with_field(SPARSE, 16, "I", 7), "takes 7 bytes, not 6"),
        (with_field(BITMAP, 20, "I", 0), "header tells of"),
        (sealed(SPARSE[:-6] + SPARSE[-1:] + SPARSE[-5:]), "not ascending"),
        (sealed(SPARSE[:-1] + b"\xff"), "not ascending below 200"),
        (sealed(BITMAP[:-1] + bytes([BITMAP[-1] ^ 1])), "bitmap holds"),
        (sealed(DENSE[:-4] + struct.pack("<f", float("nan"))), "NaN or infinite"),
        (sealed(DENSE[:-4] + struct.pack("<f", float("-inf"))), "NaN or infinite"),
        (with_field(LEVELS, 32, "f", -1.0), "negative, NaN or infinite"),
        (with_field(LEVELS, 32, "f", -0.0), "negative, NaN or infinite"),
        (with_field(LEVELS, 32, "f", float("nan")), "negative, NaN or infinite"),
        (with_field(LEVELS, 48, "B", 0xFF), "a section cannot be decoded"),
    ],
)
def test_says_what_is_wrong(message, match):
    refused(message, match)


def test_padding_must_be_zero():
    layout = Layout([3])
    for head, index in ((struct.pack("<I", 1), b"\x08"), (struct.pack("<I", 1), b"\x80")):
        message = struct.pack("<2s6B6I", b"FC", 1, 0, 2, 0, 32, 0, 1, 3, 1, 4, 1, 0) + head + index
        with pytest.raises(MessageError, match="padding"):
            decode(sealed(message), layout)
    message = struct.pack("<2s6B6I", b"FC", 1, 0, 0, 1, 1, 0, 1, 3, 3, 5, 0, 0) + struct.pack(
        "<fB", 1.0, 0x40
    )
    with pytest.raises(MessageError, match="padding"):
        decode(sealed(message), layout)
