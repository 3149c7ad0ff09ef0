"""Log-linear tokens in C."""

import numpy as np

from fedcomloc_mpi.kernels.native.binding import call, typed


def tokenise(values: np.ndarray, mantissa: int) -> tuple[np.ndarray, int]:
    """Return (uint8 [n] log-linear tokens with `mantissa` (0 to 3) bits, number of low bits in all) of uint32 [n]."""
    tokens = np.empty(typed(values, np.uint32).size, dtype=np.uint8)
    return tokens, call("tokenise", values, values.size, mantissa, tokens)


def pack_low(values: np.ndarray, mantissa: int, low_bits: int) -> np.ndarray:
    """Return uint8: the low bits of uint32 [n] that tokens leave out, `low_bits` in all."""
    out = np.empty((low_bits + 7) // 8, dtype=np.uint8)
    call("pack_low", typed(values, np.uint32), values.size, mantissa, low_bits, out, out.size)
    return out


def unpack_low(section: np.ndarray, tokens: np.ndarray, mantissa: int) -> tuple[np.ndarray, int]:
    """Return (uint32 [n], bytes read) from tokens and untrusted bytes. Raises MessageError."""
    values = np.empty(typed(tokens, np.uint8).size, dtype=np.uint32)
    read = call("unpack_low", typed(section, np.uint8), section.size, tokens, tokens.size, mantissa, values)
    return values, read
