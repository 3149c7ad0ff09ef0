import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.kernels import native, twins
from fedcomloc_mpi.wire import bits

KERNELS = [twins] if native.library() is None else [twins, native]


def as_one_number(values, width):
    """An independent reference: the stream is one large little-endian integer."""
    number = sum(value << (width * i) for i, value in enumerate(values))
    return number.to_bytes(-(-len(values) * width // 8), "little")


@pytest.mark.parametrize("width", range(33))
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_packs_as_the_definition_says(width, data):
    values = data.draw(st.lists(st.integers(0, 2**width - 1), max_size=70))
    for kernels in KERNELS:
        packed = kernels.pack(np.array(values, dtype=np.uint32), width)
        assert packed.tobytes() == as_one_number(values, width)
        assert packed.size == bits.packed_size(len(values), width)
        unpacked = kernels.unpack(packed, len(values), width)
        assert unpacked.dtype == np.uint32 and unpacked.tolist() == values
        assert bits.padding_is_clear(packed, width, len(values))


@pytest.mark.parametrize("width", [1, 5, 8, 17, 32])
@pytest.mark.parametrize("count", [65_535, 65_536, 65_537, 200_003])
def test_long_streams_have_no_seam(width, count):
    values = np.random.default_rng(width).integers(0, 2**width, count).astype(np.uint32)
    whole = as_one_number(values.tolist(), width) if count < 70_000 else None
    packed = [kernels.pack(values, width).tobytes() for kernels in KERNELS]
    assert whole is None or packed[0] == whole
    assert packed[0] == packed[-1]
    for kernels in KERNELS:
        assert np.array_equal(kernels.unpack(np.frombuffer(packed[0], np.uint8), count, width), values)


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_stream_that_is_too_short_is_refused(kernels):
    packed = kernels.pack(np.arange(7, dtype=np.uint32), 3)
    with pytest.raises(MessageError, match="cut short"):
        kernels.unpack(packed[:-1], 7, 3)


def test_padding_is_noticed():
    packed = twins.pack(np.array([1, 2, 3], dtype=np.uint32), 3)
    packed[-1] |= 0x80
    assert not bits.padding_is_clear(packed, 3, 3)
