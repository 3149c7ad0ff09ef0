"""Golden messages: what docs/wire-format.md says, against a decoder written from that page alone.

golden.json tells what each file of golden/ means; float32 numbers are given as their bit patterns in hexadecimal.
"""

import json
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from fedcomloc_mpi.compressors import Compressed, Levels, bitmap
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import decode, encode
from tests.wire.messages import PLAIN

FOLDER = Path(__file__).parent / "golden"
MEANINGS = json.loads((FOLDER / "golden.json").read_text())
PAGE = Path(__file__).parents[2] / "docs" / "wire-format.md"


def stream(section, width, count):
    number = int.from_bytes(section, "little")
    assert number >> (width * count) == 0, "padding"
    return [number >> (width * i) & ((1 << width) - 1) for i in range(count)]


def read_by_the_page(message, sizes):
    """Return (flags, {index: float32 bits}, {index: level} or None) of a valid message of version 1."""
    magic, version, flags, index_coder, value_coder, r, reserved = struct.unpack_from("<2s6B", message)
    layers, d, k, value_bytes, index_bytes, checksum = struct.unpack_from("<6I", message, 8)
    assert (magic, version, reserved, flags & ~2) == (b"FC", 1, 0, 0)
    assert (layers, d) == (len(sizes), sum(sizes)) and len(message) == 32 + value_bytes + index_bytes
    assert checksum == zlib.crc32(message[:28] + message[32:])
    values, index = message[32 : 32 + value_bytes], message[32 + value_bytes :]
    if index_coder == 0:
        indices = list(range(d))
    elif index_coder == 1:
        width = len(f"{d - 1:b}") if d > 1 else 0
        assert index_bytes == -(-k * width // 8)
        indices = stream(index, width, k)
    else:
        assert index_coder == 2 and index_bytes == -(-d // 8)
        indices = [i for i, bit in enumerate(stream(index, 1, d)) if bit]
    assert len(indices) == k
    if value_coder == 0:
        assert r == 32
        return flags, dict(zip(indices, struct.unpack(f"<{k}I", values), strict=True)), None
    assert value_coder == 1 and value_bytes == 4 * layers + -(-k * (r + 1) // 8)
    scales = struct.unpack_from(f"<{layers}f", values)
    layer_of = [layer for layer, size in enumerate(sizes) for _ in range(size)]
    bits_of, level_of = {}, {}
    for i, code in zip(indices, stream(values[4 * layers :], r + 1, k), strict=True):
        level_of[i] = -(code + 1) // 2 if code % 2 else code // 2
        value = struct.pack("<f", level_of[i] * scales[layer_of[i]] / (2**r - 1))
        (bits_of[i],) = struct.unpack("<I", value)
    return flags, bits_of, level_of


def meant(meaning):
    """Return the Compressed that golden.json describes."""
    layout = Layout(meaning["layers"])
    kept = meaning.get("kept")
    mask = None if kept is None else bitmap.from_indices(np.array(kept, dtype=np.int64), layout.size)
    values = np.array([int(word, 16) for word in meaning["values"]], dtype=np.uint32).view(np.float32)
    levels = None
    if "levels" in meaning:
        scales = np.array([int(word, 16) for word in meaning["scales"]], dtype=np.uint32).view(np.float32)
        levels = Levels(np.array(meaning["levels"], dtype=np.int32), scales, meaning["bits"])
    return Compressed(layout, mask, values.size, values, levels)


def test_every_golden_message_has_a_meaning():
    assert sorted(MEANINGS) == sorted(path.stem for path in FOLDER.glob("*.bin"))


@pytest.mark.parametrize("name", sorted(MEANINGS))
def test_encode_writes_it(name):
    encoded = encode(meant(MEANINGS[name]), coders=PLAIN)
    assert encoded.data.tobytes() == (FOLDER / f"{name}.bin").read_bytes()
    assert [encoded.index_coder, encoded.value_coder] == MEANINGS[name]["coders"]


@pytest.mark.parametrize("name", sorted(MEANINGS))
def test_decode_reads_it(name):
    expected = meant(MEANINGS[name])
    compressed = decode((FOLDER / f"{name}.bin").read_bytes(), expected.layout)
    assert compressed.count == expected.count
    assert compressed.indices().tolist() == expected.indices().tolist()
    assert compressed.values.tobytes() == expected.values.tobytes()
    assert (compressed.levels is None) == (expected.levels is None)
    if compressed.levels is not None and expected.levels is not None:
        assert compressed.levels.levels.tolist() == expected.levels.levels.tolist()
        assert compressed.levels.scales.tobytes() == expected.levels.scales.tobytes()


@pytest.mark.parametrize("name", sorted(MEANINGS))
def test_a_decoder_written_from_the_page_reads_it(name):
    expected = meant(MEANINGS[name])
    flags, bits_of, level_of = read_by_the_page(
        (FOLDER / f"{name}.bin").read_bytes(), MEANINGS[name]["layers"]
    )
    assert flags == MEANINGS[name]["flags"]
    vector = np.zeros(expected.layout.size, dtype=np.float32)
    expected.write_to(vector)
    rebuilt = np.zeros(vector.size, dtype=np.uint32)
    for index, bits in bits_of.items():
        rebuilt[index] = bits
    assert rebuilt.tobytes() == vector.tobytes()
    if level_of is not None and expected.levels is not None:
        kept = zip(expected.indices().tolist(), expected.levels.levels.tolist(), strict=True)
        assert {i: level for i, level in kept if i in level_of} == level_of


def test_the_worked_example_is_a_golden_message():
    example = PAGE.read_text().partition("## Worked example")[2]
    rows = re.findall(r"^ {4}[0-9a-f]{4}  ((?:[0-9a-f]{2} ?)+)", example, flags=re.MULTILINE)
    assert bytes.fromhex(" ".join(rows)) == (FOLDER / "example.bin").read_bytes()
