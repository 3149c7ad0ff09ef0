"""The support of a message: which entries it carries, as a bitmap or as indices, each made when first asked for."""

import numpy as np

from fedcomloc_mpi.compressors import bitmap


class Support:
    """`count` of `size` entries, given by a bitmap, by ascending int64 indices, by both, or by neither: all of them."""

    def __init__(
        self, size: int, count: int, mask: np.ndarray | None = None, indices: np.ndarray | None = None
    ) -> None:
        if mask is None and indices is None and count != size:
            raise ValueError(f"a support of {count} of {size} entries needs a mask or indices")
        self.size = size
        self.count = count
        self._mask = mask
        self._indices = indices

    @property
    def complete(self) -> bool:
        """Whether every entry belongs to it."""
        return self.count == self.size

    @property
    def mask(self) -> np.ndarray:
        """Bitmap, uint8 [ceil(size / 8)]."""
        if self._mask is None:
            if self._indices is None:
                self._mask = bitmap.complete(self.size)
            else:
                self._mask = bitmap.from_indices(self._indices, self.size)
        return self._mask

    @property
    def indices(self) -> np.ndarray:
        """int64 [count], ascending."""
        if self._indices is None:
            self._indices = (
                np.arange(self.size) if self._mask is None else bitmap.to_indices(self._mask, self.size)
            )
        return self._indices
