"""The fingerprint of a vector in C."""

import numpy as np

from fedcomloc_mpi.kernels.native.binding import call, checked_bitmap, typed


def fingerprint(mask: np.ndarray, values: np.ndarray, size: int) -> int:
    """Return the 64-bit content hash of a vector of `size` entries: `values`, float32, at `mask`, all others +0."""
    result = np.empty(1, dtype=np.uint64)
    little = typed(values, np.float32).astype("<f4", copy=False)
    call("fingerprint", checked_bitmap(mask, size), size, little, little.size, result)
    return int(result[0])
