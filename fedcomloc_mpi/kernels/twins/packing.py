"""Fixed-width integers and the Rice code in numpy; the functions are documented in `native`."""

import numpy as np

from fedcomloc_mpi.errors import MessageError


def pack(values: np.ndarray, width: int) -> np.ndarray:
    """Return the lowest `width` bits of each value, without gaps."""
    if not 0 <= width <= 32:
        raise ValueError(f"a width of 0 to 32 is needed, not {width}")
    bits = (values[:, None] >> np.arange(width, dtype=np.uint32)) & np.uint32(1)
    return np.packbits(bits.astype(np.uint8).reshape(-1), bitorder="little")


def unpack(section: np.ndarray, count: int, width: int) -> np.ndarray:
    """Undo `pack`."""
    if not 0 <= width <= 32:
        raise ValueError(f"a width of 0 to 32 is needed, not {width}")
    if (count * width + 7) // 8 > section.size:
        raise MessageError("the message is cut short inside a section")
    if width == 0:
        return np.zeros(count, dtype=np.uint32)
    bits = np.unpackbits(section, count=count * width, bitorder="little").reshape(count, width)
    weighted = bits.astype(np.uint32) << np.arange(width, dtype=np.uint32)
    return np.asarray(weighted.sum(axis=1, dtype=np.uint32))


def rice_size(found: np.ndarray, shift: int) -> int:
    """Return the bytes that `rice_encode` writes."""
    zeros = int((found >> np.uint32(shift)).sum(dtype=np.int64))
    return (zeros + found.size + 7) // 8 + (found.size * shift + 7) // 8


def rice_parameter(found: np.ndarray, first: int, last: int) -> tuple[int, int]:
    """Return (the parameter with the shortest code, its bytes)."""
    size, shift = min((rice_size(found, shift), shift) for shift in range(first, last + 1))
    return shift, size


def rice_encode(found: np.ndarray, shift: int) -> np.ndarray:
    """Return the unary plane of gap >> shift, then the plane of low bits."""
    ends = np.cumsum((found >> np.uint32(shift)).astype(np.int64) + 1) - 1
    unary = np.zeros(int(ends[-1]) + 1 if ends.size else 0, dtype=np.uint8)
    unary[ends] = 1
    return np.concatenate((np.packbits(unary, bitorder="little"), pack(found, shift)))


def rice_decode(section: np.ndarray, count: int, shift: int) -> tuple[np.ndarray, int]:
    """Undo `rice_encode`; return the gaps and the bytes read."""
    ends = np.flatnonzero(np.unpackbits(section, bitorder="little"))[:count]
    if ends.size < count:
        raise MessageError("the message is cut short inside a section")
    quotients = np.diff(ends, prepend=-1) - 1
    if count and quotients.max() > 0xFFFFFFFF >> shift:
        raise MessageError("the message is damaged: a section cannot be decoded")
    plane = (int(ends[-1]) + 8) // 8 if count else 0
    low = unpack(section[plane:], count, shift)
    return (quotients.astype(np.uint32) << np.uint32(shift)) | low, plane + (count * shift + 7) // 8
