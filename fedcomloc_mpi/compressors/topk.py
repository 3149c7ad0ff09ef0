"""TopK: keep the k entries of largest magnitude of the whole vector; of equal ones the lowest index wins."""

from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from math import ceil

import numpy as np

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors import bitmap
from fedcomloc_mpi.compressors.compressed import Compressed
from fedcomloc_mpi.compressors.compressor import check_finite, check_vector, non_finite
from fedcomloc_mpi.errors import NonFiniteError
from fedcomloc_mpi.layout import Layout

# By itemsize: the integer of the same width, the mask that clears the sign, the bit pattern of infinity.
_BIT_PATTERNS: dict[int, tuple[type[np.signedinteger], np.signedinteger, int]] = {
    4: (np.int32, np.int32(0x7FFFFFFF), 0x7F800000),
    8: (np.int64, np.int64(0x7FFFFFFFFFFFFFFF), 0x7FF0000000000000),
}


@lru_cache(maxsize=256)
def kept_entries(density: float, size: int) -> int:
    """Return k = ceil(density * size), exactly, for the decimal number that `density` prints as.

    In binary 0.1 is a little more than 1/10, so that a product in floating point could keep an entry too many.
    """
    return ceil(Fraction(repr(float(density))) * size)


def select_topk(vector: np.ndarray, k: int, guess: np.ndarray | None = None) -> np.ndarray:
    """Return the bitmap, uint8 [ceil(d / 8)], of the `k` entries of largest magnitude, exactly k of them.

    `vector`: float32 or float64 [d], contiguous; 0 <= k <= d. Of entries of equal magnitude those of lower index are
    taken; +0 and -0 are equal. `guess`: see `kernels.select`. Raises NonFiniteError on NaN or an infinity.
    """
    size = vector.size
    if not 0 <= k <= size:
        raise ValueError(f"k must be between 0 and {size}, not {k}")
    if vector.dtype == np.float32:
        try:
            return kernels.select(vector, k, guess)
        except NonFiniteError:
            raise non_finite(vector) from None
    if k in (0, size):
        check_finite(vector)
        return bitmap.complete(size) if k else np.zeros(bitmap.byte_count(size), dtype=np.uint8)
    # Without their sign, bit patterns of floats are ordered as magnitudes are, and NaN and infinity lie above all
    # others; numpy partitions integers faster than floats.
    integer, without_sign, infinity = _BIT_PATTERNS[vector.dtype.itemsize]
    magnitudes = vector.view(integer) & without_sign
    partitioned = np.partition(magnitudes, size - k)
    if partitioned[size - k :].max() >= infinity:
        raise non_finite(vector)
    threshold = partitioned[size - k]
    flags = magnitudes >= threshold
    surplus = int(np.count_nonzero(flags)) - k
    if surplus:
        ties = np.flatnonzero(magnitudes == threshold)
        flags[ties[ties.size - surplus :]] = False
    return bitmap.pack(flags)


@dataclass(frozen=True)
class TopK:
    """Keep ceil(density * d) entries, their values unchanged, bit for bit."""

    layout: Layout
    density: float
    # Where the smallest entry kept was last time: the next vector's is near.
    _guess: np.ndarray = field(
        default_factory=lambda: np.zeros(2, dtype=np.uint32), init=False, repr=False, compare=False
    )
    name = "topk"
    lossless = False
    bits = 32

    def compress(self, vector: np.ndarray, key: int, reference: np.ndarray | None = None) -> Compressed:
        """Return the kept entries of `vector`; see `Compressor.compress`."""
        check_vector(vector, self.layout)
        size = self.layout.size
        k = kept_entries(self.density, size)
        mask = select_topk(vector, k, self._guess)
        if k == size:
            return Compressed(self.layout, None, size, vector.copy())
        if vector.dtype == np.float32:
            return Compressed(self.layout, mask, k, kernels.gather(vector, mask, k))
        return Compressed(self.layout, mask, k, vector.take(bitmap.to_indices(mask, size)))
