"""The shared lattice: quantization steps that both ends derive from the reference."""

import numpy as np

from fedcomloc_mpi import kernels
from fedcomloc_mpi.wire.reference import Reference

# So that a step is a normal float32, and its products with int32 levels are finite.
_SMALLEST, _LARGEST = -126, 96


def lattice_steps(maxima: np.ndarray, bits: int) -> np.ndarray:
    """Return float32 [layers]: 2^ceil(log2(maximum / (2^bits - 1))), exactly; 0 where the maximum is 0.

    maxima: float32 [layers], the largest magnitudes of the reference's layers. Exponents are kept within -126 and 96.
    """
    # frexp is exact: q = mantissa * 2^exponent with a mantissa in [1/2, 1), so ceil(log2 q) is the exponent unless the
    # mantissa is 1/2.
    mantissas, exponents = np.frexp(maxima.astype(np.float64) / ((1 << bits) - 1))
    exponents = np.clip(np.where(mantissas == 0.5, exponents - 1, exponents), _SMALLEST, _LARGEST)
    return np.where(maxima > 0, np.ldexp(np.float32(1), exponents), 0).astype(np.float32)


def reference_steps(reference: Reference, bits: int) -> np.ndarray:
    """Return the lattice's steps, float32 [layers], of a reference; 0 for a layer in which it has no nonzero entry."""
    return lattice_steps(kernels.layer_maxima(reference.vector, None, reference.layout), bits)
