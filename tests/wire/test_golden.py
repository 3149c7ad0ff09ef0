"""Golden messages: what docs/wire-format.md says, against a decoder written from that page alone.

golden.json tells what each file of golden/ means; float32 numbers are given as their bit patterns in hexadecimal.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from fedcomloc_mpi.compressors import Compressed, Levels, bitmap
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import Reference, available, decode, encode, every, names, numbered
from tests.wire.page_decoder import read_by_the_page
from tests.wire.test_reference_coding import every_message

FOLDER = Path(__file__).parent / "golden"
MEANINGS = json.loads((FOLDER / "golden.json").read_text())
PAGE = Path(__file__).parents[2] / "docs" / "wire-format.md"


def meant(meaning):
    """Return the Compressed that golden.json describes."""
    layout = Layout(meaning["layers"])
    kept = meaning.get("kept")
    mask = None if kept is None else bitmap.from_indices(np.array(kept, dtype=np.int64), layout.size)
    values = np.array([int(word, 16) for word in meaning["values"]], dtype=np.uint32).view(np.float32)
    levels = None
    if "levels" in meaning:
        scales = np.array([int(word, 16) for word in meaning["scales"]], dtype=np.uint32).view(np.float32)
        key = int(meaning["key"]) if "key" in meaning else None
        levels = Levels(
            np.array(meaning["levels"], dtype=np.int32),
            scales,
            meaning["bits"],
            meaning.get("lattice", 0),
            key,
        )
    return Compressed(layout, mask, values.size, values, levels)


def reference_of(meaning):
    """Return the reference that the message was coded against, or None."""
    if "reference" not in meaning:
        return None
    words = np.array([int(word, 16) for word in meaning["reference"]], dtype=np.uint32)
    return Reference(words.view(np.float32), Layout(meaning["layers"]))


def test_every_golden_message_has_a_meaning():
    assert sorted(MEANINGS) == sorted(path.stem for path in FOLDER.glob("*.bin"))


@pytest.mark.parametrize("name", sorted(MEANINGS))
def test_encode_writes_it(name):
    meaning = MEANINGS[name]
    coders = numbered(meaning["coders"])
    if coders & ~available():
        pytest.skip("the package was installed without a compiler")
    encoded = encode(meant(meaning), reference_of(meaning), coders)
    assert encoded.data.tobytes() == (FOLDER / f"{name}.bin").read_bytes()
    assert [encoded.index_coder, encoded.value_coder] == meaning["coders"]


@pytest.mark.parametrize("name", sorted(MEANINGS))
def test_decode_reads_it(name):
    expected = meant(MEANINGS[name])
    reference = reference_of(MEANINGS[name])
    compressed = decode((FOLDER / f"{name}.bin").read_bytes(), expected.layout, reference)
    assert compressed.count == expected.count
    assert compressed.indices().tolist() == expected.indices().tolist()
    assert compressed.values.tobytes() == expected.values.tobytes()
    assert (compressed.levels is None) == (expected.levels is None)
    if compressed.levels is not None and expected.levels is not None:
        assert compressed.levels.levels.tolist() == expected.levels.levels.tolist()
        assert compressed.levels.scales.tobytes() == expected.levels.scales.tobytes()


def check_by_the_page(message, expected, reference):
    """Let the decoder that was written from the page read a message; return what it says of the header."""
    known = None if reference is None else reference.vector.view(np.uint32).tolist()
    found = read_by_the_page(message, list(expected.layout.sizes), known)
    vector = np.zeros(expected.layout.size, dtype=np.float32)
    expected.write_to(vector)
    rebuilt = np.zeros(vector.size, dtype=np.uint32)
    for index, bits in found.bits_of.items():
        rebuilt[index] = bits
    assert rebuilt.tobytes() == vector.tobytes()
    if found.level_of is not None and expected.levels is not None:
        kept = zip(expected.indices().tolist(), expected.levels.levels.tolist(), strict=True)
        assert {i: level for i, level in kept if i in found.level_of} == found.level_of
    return found


@pytest.mark.parametrize("name", sorted(MEANINGS))
def test_a_decoder_written_from_the_page_reads_it(name):
    meaning = MEANINGS[name]
    message = (FOLDER / f"{name}.bin").read_bytes()
    found = check_by_the_page(message, meant(meaning), reference_of(meaning))
    assert found.flags == meaning["flags"]
    assert names(1 << found.index_coder | 1 << (16 + found.value_coder)) == tuple(meaning["coders"])


def test_golden_messages_are_of_every_coder():
    assert {name for meaning in MEANINGS.values() for name in meaning["coders"]} == set(names(every()))


@pytest.mark.parametrize("seed", range(4))
def test_a_decoder_written_from_the_page_reads_what_is_written(seed):
    count = 0
    for _, _, message, compressed, reference in every_message(Layout([90, 7, 0, 43 + seed]), seed):
        check_by_the_page(message, compressed, reference)
        count += 1
    assert count > 20


@pytest.mark.parametrize("name", ["example", "example-reference"])
def test_the_worked_examples_are_golden_messages(name):
    example = PAGE.read_text().partition(f"<!-- {name} -->")[2].partition("<!--")[0]
    rows = re.findall(r"^ {4}[0-9a-f]{4}  ((?:[0-9a-f]{2} ?)+)", example, flags=re.MULTILINE)
    assert bytes.fromhex(" ".join(rows)) == (FOLDER / f"{name}.bin").read_bytes()
