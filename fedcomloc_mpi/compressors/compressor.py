"""What every compressor offers, and what it asks of the vector it is given."""

from typing import Protocol

import numpy as np

from fedcomloc_mpi.compressors.compressed import Compressed
from fedcomloc_mpi.errors import NonFiniteError
from fedcomloc_mpi.layout import Layout


class Compressor(Protocol):
    """A map C(.) from a vector to a `Compressed`."""

    @property
    def name(self) -> str:
        """The name that it is registered by."""
        ...

    @property
    def lossless(self) -> bool:
        """Whether C(x) is x for every x."""
        ...

    @property
    def density(self) -> float:
        """Fraction of the entries kept, in (0, 1]."""
        ...

    @property
    def bits(self) -> int:
        """Magnitude bits of a kept entry, 1 to 16, or 32 where values are not quantized."""
        ...

    def compress(self, vector: np.ndarray, key: int, reference: np.ndarray | None = None) -> Compressed:
        """Compress `vector`, float32 or float64 [d], 1-D and contiguous; it is neither changed nor referred to.

        `key`: 64-bit key of the uniforms for stochastic rounding (`randomness.key`). `reference`: the vector that both
        ends hold, for compressors that adapt to it. Raises NonFiniteError on NaN or an infinity, ValueError on a vector
        of another shape or dtype.
        """
        ...


def check_vector(vector: np.ndarray, layout: Layout) -> None:
    """Raise ValueError unless `vector` is float32 or float64, 1-D, contiguous and of `layout.size` entries."""
    if vector.dtype not in (np.float32, np.float64) or not vector.flags.c_contiguous:
        raise ValueError(f"a contiguous float32 or float64 vector is needed, not {vector.dtype}")
    if vector.shape != (layout.size,):
        raise ValueError(f"a vector of shape ({layout.size},) is needed, not {vector.shape}")


def all_finite(vector: np.ndarray) -> bool:
    """Say whether no entry is NaN or infinite, without a temporary: NaN passes through both max and min."""
    if vector.size == 0:
        return True
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(vector.max()) and np.isfinite(vector.min()))


def check_finite(vector: np.ndarray) -> None:
    """Raise NonFiniteError, naming the first such entry, if `vector` holds NaN or an infinity."""
    if not all_finite(vector):
        raise non_finite(vector)


def non_finite(vector: np.ndarray) -> NonFiniteError:
    """Return the error for a `vector` that holds NaN or an infinity."""
    bad = np.flatnonzero(~np.isfinite(vector))
    return NonFiniteError(
        f"the vector to compress is not finite: {bad.size} of {vector.size} entries, the first "
        f"({vector[bad[0]]}) at index {bad[0]}"
    )
