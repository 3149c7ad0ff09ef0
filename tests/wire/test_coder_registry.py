"""Coders are registered by number, and may need the reference: shown with one made up for the test."""

import numpy as np
import pytest

from fedcomloc_mpi.compressors.topk import TopK
from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import Reference, available, decode, encode, names
from fedcomloc_mpi.wire.index_coders import INDEX_CODERS
from fedcomloc_mpi.wire.proposal import Proposal
from fedcomloc_mpi.wire.support import Support
from fedcomloc_mpi.wire.value_coders import VALUE_CODERS
from tests.wire.messages import PLAIN, assert_same, sealed

LAYOUT = Layout([60, 40])
NUMBER = 7


class SameAsReference:
    """Writes nothing: the support is the reference's own TopK support."""

    number = NUMBER
    name = "same"
    compiled_only = False

    def propose(self, task):
        if task.reference is None:
            return None
        known = task.reference.topk_mask(task.support.count)
        if not np.array_equal(task.support.mask, known):
            return None
        return Proposal(0, lambda: np.empty(0, dtype=np.uint8), uses_reference=True)

    def decode(self, section, size, count, reference):
        if reference is None:
            raise MessageError("the message is damaged: the same as nothing")
        return Support(size, count, reference.topk_mask(count))


@pytest.fixture
def message(monkeypatch):
    monkeypatch.setitem(INDEX_CODERS, NUMBER, SameAsReference())
    vector = np.random.default_rng(0).standard_normal(100).astype(np.float32)
    compressed = TopK(LAYOUT, 0.3).compress(vector, 0)
    reference = Reference((vector * 2).copy(), LAYOUT)
    encoded = encode(compressed, reference, PLAIN | 1 << NUMBER)
    assert (encoded.index_coder, encoded.data.size) == ("same", 40 + 4 * 30)
    assert not encoded.self_contained and encode(compressed).self_contained
    assert int.from_bytes(encoded.data[32:40].tobytes(), "little") == reference.fingerprint
    return encoded.data.tobytes(), compressed, reference


def test_a_new_coder_competes_where_there_is_a_reference(message):
    data, compressed, reference = message
    assert_same(decode(data, LAYOUT, reference), compressed)
    assert encode(compressed, coders=PLAIN | 1 << NUMBER).index_coder == "bitmap"
    assert encode(compressed, reference, PLAIN).index_coder == "bitmap", "it is not in the set"
    assert "same" in names(available())


def test_another_reference_is_noticed(message):
    data, _, reference = message
    other = reference.vector.copy()
    other[99] = np.nextafter(other[99], np.float32(9))
    with pytest.raises(MessageError, match=rf"reference {reference.fingerprint:016x}"):
        decode(data, LAYOUT, Reference(other, LAYOUT))
    with pytest.raises(MessageError, match="against a reference, and there is none here"):
        decode(data, LAYOUT)


def test_a_coder_sees_no_reference_where_the_flags_deny_one(message):
    data, _, reference = message
    with pytest.raises(MessageError, match="the same as nothing"):
        decode(sealed(data[:3] + b"\0" + data[4:32] + data[40:]), LAYOUT, reference)


def test_a_coder_that_is_gone_is_refused_by_name(message, monkeypatch):
    data, _, reference = message
    monkeypatch.delitem(INDEX_CODERS, NUMBER)
    with pytest.raises(MessageError, match=r"index coder 7 is unknown; known are 0 \(dense\), 1 \(fixed\)"):
        decode(data, LAYOUT, reference)


def test_numbers_and_names_are_of_one_coder_each():
    every = names(available())
    assert len(set(every)) == len(every)
    assert [coder.number for coder in INDEX_CODERS.values()] == list(range(len(INDEX_CODERS)))
    assert [coder.number for coder in VALUE_CODERS.values()] == list(range(len(VALUE_CODERS)))


def test_without_compiled_kernels_the_numpy_coders_remain(monkeypatch):
    from fedcomloc_mpi import kernels

    monkeypatch.setattr(kernels, "COMPILED", False)
    assert names(available()) == (
        *("dense", "fixed", "bitmap", "rice"),
        *("float32", "levels", "lattice-levels"),
    )
