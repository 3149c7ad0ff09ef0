"""Fixed-width integers, split floats and the Rice code in C."""

import numpy as np

from fedcomloc_mpi.kernels.native.binding import call, same_size, typed


def pack(values: np.ndarray, width: int) -> np.ndarray:
    """Return uint8: the lowest `width` (0 to 32) bits of each of uint32 [n], without gaps."""
    out = np.empty((typed(values, np.uint32).size * width + 7) // 8, dtype=np.uint8)
    call("pack", values, values.size, width, out, out.size)
    return out


def unpack(section: np.ndarray, count: int, width: int) -> np.ndarray:
    """Return uint32 [count] from what `pack` wrote. Raises MessageError if the section is too short."""
    values = np.empty(count, dtype=np.uint32)
    call("unpack", typed(section, np.uint8), section.size, count, width, values)
    return values


def split_floats(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (uint8 [k] exponent fields, uint32 [k] of 24 bits: mantissa, sign on top) of float32 [k]."""
    exponents = np.empty(typed(values, np.float32).size, dtype=np.uint8)
    rest = np.empty(values.size, dtype=np.uint32)
    call("split_floats", values, values.size, exponents, rest)
    return exponents, rest


def join_floats(exponents: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Return the float32 [k] that `split_floats` was given. Raises NonFiniteError."""
    same_size(typed(exponents, np.uint8), typed(rest, np.uint32))
    values = np.empty(rest.size, dtype=np.float32)
    call("join_floats", exponents, rest, values.size, values)
    return values


def rice_size(found: np.ndarray, shift: int) -> int:
    """Return the bytes that `rice_encode` writes."""
    zeros = call("quotient_sum", typed(found, np.uint32), found.size, shift)
    return (zeros + found.size + 7) // 8 + (found.size * shift + 7) // 8


def rice_parameter(found: np.ndarray, first: int, last: int) -> tuple[int, int]:
    """Return (the parameter, of `first` to `last`, with the shortest Rice code, of equals the lowest; its bytes)."""
    size = np.empty(1, dtype=np.int64)
    shift = call("rice_parameter", typed(found, np.uint32), found.size, first, last, size)
    return shift, int(size[0])


def rice_encode(found: np.ndarray, shift: int) -> np.ndarray:
    """Return uint8: the unary plane of gap >> shift, then the plane of the low `shift` (0 to 31) bits."""
    out = np.empty(rice_size(found, shift), dtype=np.uint8)
    call("rice_encode", found, found.size, shift, out, out.size)
    return out


def rice_decode(section: np.ndarray, count: int, shift: int) -> tuple[np.ndarray, int]:
    """Return (uint32 [count], bytes read) of untrusted bytes. Raises MessageError."""
    found = np.empty(count, dtype=np.uint32)
    read = call("rice_decode", typed(section, np.uint8), section.size, count, shift, found)
    return found, read
