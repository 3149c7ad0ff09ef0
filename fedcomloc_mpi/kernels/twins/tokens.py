"""Log-linear tokens in numpy; the functions are documented in `native`."""

import numpy as np

from fedcomloc_mpi.errors import MessageError


def token_count(mantissa: int) -> int:
    """Return how many tokens 32-bit integers can have."""
    return ((31 - mantissa) << mantissa) + (2 << mantissa)


def token_shift(token: int, mantissa: int) -> int:
    """Return the number of low bits that a token leaves out."""
    return 0 if token < 2 << mantissa else (token >> mantissa) - 1


def token_base(token: int, mantissa: int) -> int:
    """Return the smallest integer that has this token."""
    shift = token_shift(token, mantissa)
    return (token - (shift << mantissa)) << shift


def _shifts(values: np.ndarray, mantissa: int) -> np.ndarray:
    # float64 holds 32-bit integers exactly; frexp's exponent is the bit length.
    _, lengths = np.frexp((values | np.uint32(1 << mantissa)).astype(np.float64))
    return (lengths - 1 - mantissa).astype(np.uint32)


def tokenise(values: np.ndarray, mantissa: int) -> tuple[np.ndarray, int]:
    """Return the tokens and the number of low bits in all."""
    shifts = _shifts(values, mantissa)
    tokens = (shifts << np.uint32(mantissa)) + (values >> shifts)
    return tokens.astype(np.uint8), int(shifts.sum(dtype=np.int64))


def pack_low(values: np.ndarray, mantissa: int, low_bits: int) -> np.ndarray:
    """Return the low bits that tokens leave out."""
    shifts = _shifts(values, mantissa).astype(np.int64)
    starts = np.cumsum(shifts) - shifts
    bits = np.zeros(low_bits, dtype=np.uint8)
    for bit in range(int(shifts.max(initial=0))):
        longer = shifts > bit
        bits[starts[longer] + bit] = values[longer] >> np.uint32(bit) & np.uint32(1)
    return np.packbits(bits, bitorder="little")


def unpack_low(section: np.ndarray, tokens: np.ndarray, mantissa: int) -> tuple[np.ndarray, int]:
    """Return the integers and the bytes read."""
    known = token_count(mantissa)
    if tokens.max(initial=0) >= known:
        raise MessageError("the message is damaged: a section cannot be decoded")
    shifts = np.array([token_shift(token, mantissa) for token in range(known)], dtype=np.int64)[tokens]
    values = np.array([token_base(token, mantissa) for token in range(known)], dtype=np.uint32)[tokens]
    total = int(shifts.sum())
    if (total + 7) // 8 > section.size:
        raise MessageError("the message is cut short inside a section")
    bits = np.unpackbits(section, count=total, bitorder="little")
    starts = np.cumsum(shifts) - shifts
    for bit in range(int(shifts.max(initial=0))):
        longer = shifts > bit
        values[longer] |= bits[starts[longer] + bit].astype(np.uint32) << np.uint32(bit)
    return values, (total + 7) // 8
