"""The identity: every entry, unchanged, bit for bit."""

from dataclasses import dataclass

import numpy as np

from fedcomloc_mpi.compressors.compressed import Compressed
from fedcomloc_mpi.compressors.compressor import check_finite, check_vector
from fedcomloc_mpi.layout import Layout


@dataclass(frozen=True)
class Identity:
    """No compression: C(x) = x."""

    layout: Layout
    name = "identity"
    lossless = True
    density = 1.0
    bits = 32

    def compress(self, vector: np.ndarray, key: int, reference: np.ndarray | None = None) -> Compressed:
        """Return a copy of `vector`; see `Compressor.compress`."""
        check_vector(vector, self.layout)
        check_finite(vector)
        return Compressed(self.layout, None, self.layout.size, vector.copy())
