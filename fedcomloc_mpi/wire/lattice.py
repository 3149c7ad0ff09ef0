"""The shared lattice on the wire: a mean of vectors that lie on it is sent as sums of their levels."""

import numpy as np

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors.compressed import Levels
from fedcomloc_mpi.compressors.lattice import LARGEST_LEVEL
from fedcomloc_mpi.wire.reference import Reference

# Bits of a float32 that its own rounding and that of a division leave as they were.
_CERTAIN_BITS = 21


def mean_levels(vector: np.ndarray, averaged: int, reference: Reference, bits: int) -> Levels | None:
    """Return the levels of a `vector`, float32 [d], that is a mean of `averaged` vectors on the reference's lattice.

    They are sums of levels: entry = float32(level * step / averaged) for every entry, bit for bit. None where that does
    not hold, because the vector is something else.
    """
    layout = reference.layout
    steps = reference.lattice_steps(bits).copy()
    for layer in np.flatnonzero(steps == 0):
        entries = vector[layout.offsets[layer] : layout.offsets[layer + 1]]
        steps[layer] = _common_step(entries.astype(np.float64) * averaged)
    levels = kernels.quantize(vector, None, layout, steps, averaged, LARGEST_LEVEL, None)
    values = kernels.dequantize(levels, None, layout, steps, averaged)
    if not np.array_equal(values.view(np.uint32), vector.view(np.uint32)):
        return None
    return Levels(levels, steps, bits, lattice=averaged)


def _common_step(sums: np.ndarray) -> float:
    """Return the largest power of two of which all `sums`, float64, exact to 21 bits, are multiples; 0 without one."""
    mantissas, exponents = np.frexp(sums[sums != 0])
    if not mantissas.size:
        return 0.0
    whole = np.rint(np.ldexp(mantissas, _CERTAIN_BITS)).astype(np.int64)
    _, trailing = np.frexp((whole & -whole).astype(np.float64))
    step = float(np.ldexp(1.0, int((exponents - _CERTAIN_BITS + trailing - 1).min())))
    return step if 2.0**-126 <= step <= 2.0**96 else 0.0
