"""Packed bitmaps: one bit an entry, entry i in bit i % 8 (least significant first) of byte i // 8.

The bitmap is what a selection produces and what index coders start from; it is 64 times smaller than int64 indices.
"""

import numpy as np


def byte_count(size: int) -> int:
    """Return the number of bytes of a bitmap over `size` entries."""
    return (size + 7) // 8


def pack(flags: np.ndarray) -> np.ndarray:
    """Return the bitmap, uint8 [ceil(d / 8)], of `flags`, bool [d]; padding bits are 0."""
    return np.packbits(flags, bitorder="little")


def unpack(bitmap: np.ndarray, size: int) -> np.ndarray:
    """Return bool [size]."""
    return np.unpackbits(bitmap, count=size, bitorder="little").view(np.bool_)


def to_indices(bitmap: np.ndarray, size: int) -> np.ndarray:
    """Return the indices of the set bits, int64, ascending."""
    found = count(bitmap)
    if not 0.02 * size < found <= 0.1 * size:
        # flatnonzero is several times faster on bool than on uint8.
        return np.flatnonzero(unpack(bitmap, size))
    # numpy searches with a branch for every index where at most a tenth is set, and without where more is: here the
    # latter is two to three times faster, so ones are appended until it is chosen.
    ones = np.full(size // 64 + 1, 0xFF, dtype=np.uint8)
    lengthened = np.concatenate((bitmap, ones))
    return np.flatnonzero(unpack(lengthened, 8 * lengthened.size))[:found]


def from_indices(indices: np.ndarray, size: int) -> np.ndarray:
    """Return the bitmap over `size` entries in which `indices` (integers in [0, size)) are set."""
    flags = np.zeros(size, dtype=np.bool_)
    flags[indices] = True
    return pack(flags)


def complete(size: int) -> np.ndarray:
    """Return the bitmap in which all `size` entries are set."""
    bitmap = np.full(byte_count(size), 0xFF, dtype=np.uint8)
    if size % 8:
        bitmap[-1] = (1 << size % 8) - 1
    return bitmap


def count(bitmap: np.ndarray) -> int:
    """Return the number of set bits."""
    words = bitmap.size // 8 * 8
    wide = np.bitwise_count(bitmap[:words].view(np.uint64)).sum(dtype=np.int64)
    return int(wide) + int(np.bitwise_count(bitmap[words:]).sum(dtype=np.int64))


def padding_is_clear(bitmap: np.ndarray, size: int) -> bool:
    """Say whether the bits beyond entry `size` - 1 in the last byte are 0."""
    return size % 8 == 0 or int(bitmap[-1]) >> (size % 8) == 0
