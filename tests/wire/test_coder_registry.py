"""Coders are registered by number, and may need the reference: shown with one made up for the test."""

import numpy as np
import pytest

from fedcomloc_mpi.compressors.topk import TopK
from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import Reference, coder_names, decode, encode
from fedcomloc_mpi.wire.index_coders import INDEX_CODERS, Bitmap
from fedcomloc_mpi.wire.support import Support
from tests.wire.messages import assert_same, sealed

LAYOUT = Layout([60, 40])


class SameAsReference:
    """Writes nothing: the support is the reference's own TopK support."""

    number = 200
    name = "same"
    uses_reference = True

    def size(self, support, reference):
        return 0 if np.array_equal(support.mask, reference.topk_mask(support.count)) else None

    def encode(self, support, reference, section):
        assert section.size == 0

    def decode(self, section, size, count, reference):
        return Support(size, count, reference.topk_mask(count))


@pytest.fixture
def message(monkeypatch):
    monkeypatch.setitem(INDEX_CODERS, 200, SameAsReference())
    vector = np.random.default_rng(0).standard_normal(100).astype(np.float32)
    compressed = TopK(LAYOUT, 0.3).compress(vector, 0)
    reference = Reference((vector * 2).copy(), LAYOUT)
    encoded = encode(compressed, reference)
    assert (encoded.index_coder, encoded.data.size) == ("same", 40 + 4 * 30)
    assert not encoded.self_contained and encode(compressed).self_contained
    assert int.from_bytes(encoded.data[32:40].tobytes(), "little") == reference.fingerprint
    return encoded.data.tobytes(), compressed, reference


def test_a_new_coder_competes_where_there_is_a_reference(message):
    data, compressed, reference = message
    assert_same(decode(data, LAYOUT, reference), compressed)
    assert encode(compressed).index_coder == "bitmap"
    assert "same" in coder_names()


def test_another_reference_is_noticed(message):
    data, _, reference = message
    other = reference.vector.copy()
    other[99] = np.nextafter(other[99], np.float32(9))
    with pytest.raises(MessageError, match=rf"reference {reference.fingerprint:016x}"):
        decode(data, LAYOUT, Reference(other, LAYOUT))
    with pytest.raises(MessageError, match="against a reference, and there is none here"):
        decode(data, LAYOUT)


def test_flags_and_coders_must_agree(message):
    data, _, reference = message
    with pytest.raises(MessageError, match="contradict its flags"):
        decode(sealed(data[:3] + b"\0" + data[4:32] + data[40:]), LAYOUT, reference)
    with pytest.raises(MessageError, match="contradict its flags"):
        decode(sealed(data[:4] + bytes([Bitmap.number]) + data[5:]), LAYOUT, reference)


def test_a_coder_that_is_gone_is_refused_by_name(message, monkeypatch):
    data, _, reference = message
    monkeypatch.delitem(INDEX_CODERS, 200)
    with pytest.raises(MessageError, match=r"index coder 200 is unknown; known are 0 \(dense\), 1 \(fixed\)"):
        decode(data, LAYOUT, reference)
