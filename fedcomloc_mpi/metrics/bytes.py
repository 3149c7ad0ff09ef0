"""Bytes as the literature counts them, and the bound for an unknown support (docs/measurements.md)."""

import math
from functools import lru_cache

FLOAT_BITS = 32


def paper_bytes(kept: int, bits: int) -> float:
    """Return the bytes of `kept` entries of `bits` bits each, indices free; a multiple of 1/8.

    kept: entries that travel (all d if nothing is sparsified). bits: 1 to 16 if quantized, else 32.
    """
    return kept * bits / 8


@lru_cache(maxsize=1024)
def bound_bytes(size: int, kept: int, bits: int, layers: int) -> float:
    """Return (log2 C(size, kept) + kept b) / 8 bytes, plus 4 bytes a layer of scales if quantized.

    What a support unknown to the receiver and incompressible values need at least. size: entries of the
    vector. kept: entries that travel, at most `size` (ValueError otherwise). bits: 1 to 16 magnitude bits, b
    = bits + 1 with the sign; or 32, not quantized, b = 32. layers: number of parameter tensors, each with a
    float32 scale.
    """
    if not 0 <= kept <= size:
        raise ValueError(f"{kept} entries kept of {size}")
    if bits == FLOAT_BITS:
        return (_log2_binomial(size, kept) + kept * FLOAT_BITS) / 8
    return (_log2_binomial(size, kept) + kept * (bits + 1)) / 8 + 4 * layers


def dense_bytes(size: int, messages: int) -> int:
    """Return the bytes of `messages` uncompressed float32 vectors of `size` entries."""
    return 4 * size * messages


def _log2_binomial(n: int, k: int) -> float:
    # Through lgamma the two ends would come out as rounding errors, not as 0.
    if k in (0, n):
        return 0.0
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)
