"""The fingerprint of a vector in C."""

import numpy as np

from fedcomloc_mpi.kernels.native.library import call, typed


def fingerprint(vector: np.ndarray) -> int:
    """Return the 64-bit content hash of float32 [d]."""
    result = np.empty(1, dtype=np.uint64)
    call("fingerprint", typed(vector, np.float32), vector.size, result)
    return int(result[0])
