import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomloc_mpi.wire import bits


def as_one_number(values, width):
    """An independent reference: the stream is one large little-endian integer."""
    number = sum(value << (width * i) for i, value in enumerate(values))
    return number.to_bytes(-(-len(values) * width // 8), "little")


def pack(values, width):
    out = np.full(bits.packed_size(len(values), width), 0xAA, dtype=np.uint8)
    bits.pack(np.array(values, dtype=np.int64), width, out)
    return out


@pytest.mark.parametrize("width", range(33))
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_packs_as_the_definition_says(width, data):
    values = data.draw(st.lists(st.integers(0, 2**width - 1), max_size=70))
    packed = pack(values, width)
    assert packed.tobytes() == as_one_number(values, width)
    unpacked = bits.unpack(packed, width, len(values))
    assert unpacked.dtype == np.uint32 and unpacked.tolist() == values
    assert bits.padding_is_clear(packed, width, len(values))


@pytest.mark.parametrize("width", range(1, 33))
def test_blocks_join_without_a_seam(width, monkeypatch):
    values = np.random.default_rng(width).integers(0, 2**width, 1003).tolist()
    whole = pack(values, width)
    monkeypatch.setattr(bits, "_BLOCK", 64)
    assert pack(values, width).tobytes() == whole.tobytes() == as_one_number(values, width)
    assert bits.unpack(whole, width, len(values)).tolist() == values


def test_padding_is_noticed():
    packed = pack([1, 2, 3], 3)
    packed[-1] |= 0x80
    assert not bits.padding_is_clear(packed, 3, 3)
