"""The reference: a vector that sender and receiver both hold, against which a message may be coded."""

from functools import cached_property

import numpy as np

from fedcomloc_mpi.compressors import bitmap
from fedcomloc_mpi.compressors.topk import select_topk
from fedcomloc_mpi.layout import Layout

# Words of a fingerprint's block: 64 KiB, so that the temporaries stay in the cache.
_BLOCK = 1 << 13
_MASK64 = (1 << 64) - 1
_INCREMENT = 0x9E3779B97F4A7C15
_MULTIPLIER_1 = 0xBF58476D1CE4E5B9
_MULTIPLIER_2 = 0x94D049BB133111EB
_POSITION_KEYS = np.arange(1, _BLOCK + 1, dtype=np.uint64) * np.uint64(_INCREMENT)
_HIGH_HALF = np.uint64(32)
_TOP_BITS = np.uint64(29)


def _mix(word: int) -> int:
    """Return SplitMix64's finalizer of `word`, a bijection of 64-bit integers."""
    word = ((word ^ (word >> 30)) * _MULTIPLIER_1) & _MASK64
    word = ((word ^ (word >> 27)) * _MULTIPLIER_2) & _MASK64
    return word ^ (word >> 31)


def fingerprint(vector: np.ndarray) -> int:
    """Return the 64-bit content hash of `vector`, float32 [d], contiguous, as docs/wire-format.md defines it.

    Every change within one aligned pair of entries gives another fingerprint; other changes, exchanged entries among
    them, go unnoticed with a probability of about 2^-32 at most. Not a defence against forgery.
    """
    little = vector.astype("<f4", copy=False)
    whole = little[: little.size // 2 * 2].view("<u8")
    words_of = [whole[start : start + _BLOCK] for start in range(0, whole.size, _BLOCK)]
    if little.size % 2:
        last = np.zeros(2, dtype="<f4")
        last[0] = little[-1]
        tail = last.view("<u8")
        if whole.size % _BLOCK:
            words_of[-1] = np.concatenate((words_of[-1], tail))
        else:
            words_of.append(tail)
    mixed = np.empty(_BLOCK, dtype=np.uint64)
    shifted = np.empty(_BLOCK, dtype=np.uint64)
    total = 0
    for number, words in enumerate(words_of):
        z, y = mixed[: words.size], shifted[: words.size]
        np.add(words, _POSITION_KEYS[: words.size], out=z)
        np.right_shift(z, _HIGH_HALF, out=y)
        z ^= y
        z *= np.uint64(_MULTIPLIER_1)
        np.right_shift(z, _TOP_BITS, out=y)
        z ^= y
        total += _mix((int(z.sum(dtype=np.uint64)) + (number + 1) * _INCREMENT) & _MASK64)
    return _mix((total + vector.size) & _MASK64)


class Reference:
    """A vector that both ends of a message hold; what coders derive from it is computed when first asked for.

    `vector`: float32 [layout.size], contiguous; kept, not copied, and must not change as long as the Reference is used.
    Raises ValueError on another shape or dtype.
    """

    def __init__(self, vector: np.ndarray, layout: Layout) -> None:
        if vector.dtype != np.float32 or vector.shape != (layout.size,) or not vector.flags.c_contiguous:
            raise ValueError(
                f"a reference must be contiguous float32 of shape ({layout.size},), not {vector.dtype} {vector.shape}"
            )
        self.vector = vector
        self.layout = layout
        self._topk: tuple[int, np.ndarray] | None = None

    @cached_property
    def fingerprint(self) -> int:
        """64-bit content hash of the vector."""
        return fingerprint(self.vector)

    @cached_property
    def support_mask(self) -> np.ndarray:
        """Bitmap, uint8 [ceil(d / 8)], of the entries whose bits are not all 0 (-0 belongs to it)."""
        return bitmap.pack(self.vector.view(np.uint32) != 0)

    def topk_mask(self, k: int) -> np.ndarray:
        """Return the bitmap of the vector's `k` entries of largest magnitude; the last k asked for is remembered."""
        if self._topk is None or self._topk[0] != k:
            self._topk = (k, select_topk(self.vector, k))
        return self._topk[1]
