"""The reference: a vector that sender and receiver both hold, against which a message may be coded."""

from functools import cached_property

import numpy as np

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors.lattice import lattice_steps
from fedcomloc_mpi.layout import Layout


class Reference:
    """A vector that both ends of a message hold; what coders derive from it is computed when first asked for.

    `vector`: float32 [layout.size], contiguous; kept, not copied, and must not change as long as the Reference is used.
    `known`: its `support_mask` and `values`, where whoever makes it has them already. `before`: a vector that it is
    probably near, the round before. Raises ValueError on another shape or dtype.
    """

    def __init__(
        self,
        vector: np.ndarray,
        layout: Layout,
        known: tuple[np.ndarray, np.ndarray] | None = None,
        before: "Reference | None" = None,
    ) -> None:
        if vector.dtype != np.float32 or vector.shape != (layout.size,) or not vector.flags.c_contiguous:
            raise ValueError(
                f"a reference must be contiguous float32 of shape ({layout.size},), not {vector.dtype} {vector.shape}"
            )
        self.vector = vector
        self.layout = layout
        if known is not None:
            self.support_mask, self.values = known
        self._topk: tuple[int, np.ndarray] | None = None
        # Where the smallest of its largest entries lies, or did.
        self._smallest: np.ndarray = (
            np.zeros(2, dtype=np.uint32) if before is None else before._smallest.copy()
        )

    @cached_property
    def fingerprint(self) -> int:
        """64-bit content hash of the vector, as docs/wire-format.md defines it.

        A change of one entry, or of two neighbours, gives another fingerprint; other changes go unnoticed with a
        probability of about 2^-32 at most. Not a defence against forgery.
        """
        return kernels.fingerprint(self.support_mask, self.values, self.layout.size)

    @cached_property
    def support_mask(self) -> np.ndarray:
        """Bitmap, uint8 [ceil(d / 8)], of the entries whose bits are not all 0 (-0 belongs to it)."""
        return kernels.support(self.vector)

    @cached_property
    def values(self) -> np.ndarray:
        """float32: the entries whose bits are not all 0, in index order."""
        count = kernels.popcount(self.support_mask)
        return (
            self.vector
            if count == self.layout.size
            else kernels.gather(self.vector, self.support_mask, count)
        )

    def lattice_steps(self, bits: int) -> np.ndarray:
        """Return the steps, float32 [layers], of its lattice for `bits`; 0 for a layer without a nonzero entry."""
        return lattice_steps(self._layer_maxima, bits)

    @cached_property
    def _layer_maxima(self) -> np.ndarray:
        return kernels.layer_maxima(self.vector, None, self.layout)

    def topk_mask(self, k: int) -> np.ndarray:
        """Return the bitmap of the vector's `k` entries of largest magnitude; the last k asked for is remembered."""
        if self._topk is None or self._topk[0] != k:
            self._topk = (k, self._select(k))
        return self._topk[1]

    def _select(self, k: int) -> np.ndarray:
        if k < self.values.size < self.layout.size:
            # Among those that are not +0 there are fewer to search, unless the smallest one kept is a zero.
            found = kernels.select(self.values, k, self._smallest)
            if self._smallest[0]:
                return kernels.expand(found, self.support_mask)
        return kernels.select(self.vector, k)
