"""CRC-32 by carry-less multiplication, where the processor has it: several times as fast as zlib's."""

import zlib

import numpy as np

from fedcomloc_mpi.kernels.native.binding import call, typed

_DECLINED = -6
# Of less, zlib is done before the kernel is called.
_LEAST = 4096


def crc32(data: np.ndarray, before: int = 0) -> int:
    """Return the CRC-32 (RFC 1952) of uint8 `data` that follows bytes whose CRC-32 is `before`."""
    size = typed(data, np.uint8).size
    if size >= _LEAST:
        folded = size & ~15
        found = call("crc32", data, folded, before, answers=_DECLINED)
        if found != _DECLINED:
            data, before = data[folded:], found
    return zlib.crc32(data.data, before)
