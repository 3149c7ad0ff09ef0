"""Quantization on the shared lattice: the steps come from the reference, which sender and receiver both hold.

level = sign(v) * floor(|v| / step + u), u uniform in [0, 1); value = level * step. The step of a layer is the smallest
power of two at which the reference's largest magnitude there is within 2^bits - 1 levels. Levels are not bounded by
that. A layer in which the reference has no nonzero entry gets its step from the quantized vector itself.
"""

from dataclasses import dataclass, field

import numpy as np

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors.compressed import Compressed, Levels
from fedcomloc_mpi.compressors.compressor import check_finite, check_vector
from fedcomloc_mpi.compressors.quantize import check_quantization, dequantize
from fedcomloc_mpi.compressors.topk import TopK
from fedcomloc_mpi.errors import NonFiniteError
from fedcomloc_mpi.kernels import twins
from fedcomloc_mpi.layout import Layout

# So that a step is a normal float32, and its products with int32 levels are finite.
_SMALLEST, _LARGEST = -126, 96
LARGEST_LEVEL = (1 << 31) - 1


def lattice_steps(maxima: np.ndarray, bits: int) -> np.ndarray:
    """Return the steps, [layers] of the maxima's dtype: 2^ceil(log2(maximum / (2^bits - 1))), exactly; 0 for 0.

    maxima: float32 or float64 [layers], the largest magnitudes of the layers. Exponents are kept within -126 and 96.
    """
    # frexp is exact: q = mantissa * 2^exponent with a mantissa in [1/2, 1), so ceil(log2 q) is the exponent unless the
    # mantissa is 1/2.
    mantissas, exponents = np.frexp(maxima.astype(np.float64) / ((1 << bits) - 1))
    exponents = np.clip(np.where(mantissas == 0.5, exponents - 1, exponents), _SMALLEST, _LARGEST)
    return np.where(maxima > 0, np.ldexp(1.0, exponents), 0).astype(maxima.dtype)


@dataclass(frozen=True)
class LatticeQuantize:
    """Keep ceil(density * d) entries (all of them at density 1) and round them to the shared lattice."""

    layout: Layout
    density: float
    bits: int
    _topk: TopK = field(init=False, repr=False, compare=False)
    name = "lattice"
    lossless = False

    def __post_init__(self) -> None:
        check_quantization(self.bits, "max")
        object.__setattr__(self, "_topk", TopK(self.layout, self.density))

    def compress(self, vector: np.ndarray, key: int, reference: np.ndarray | None = None) -> Compressed:
        """Return the kept entries of `vector` on the lattice of `reference`; see `Compressor.compress`.

        Raises NonFiniteError as well if an entry is beyond 2^31 steps of the lattice.
        """
        mask, values = None, vector
        if self.density < 1:
            kept = self._topk.compress(vector, key, reference)
            mask, values = kept.mask, kept.values
        else:
            check_vector(vector, self.layout)
            check_finite(vector)
        single = vector.dtype == np.float32
        maxima = kernels.layer_maxima if single else twins.layer_maxima
        steps = np.zeros(len(self.layout.sizes), dtype=vector.dtype)
        if reference is not None:
            steps = lattice_steps(maxima(reference, None, self.layout), self.bits)
        own = lattice_steps(maxima(values, mask, self.layout), self.bits)
        steps = np.where(steps == 0, own, steps)
        rounded = kernels.quantize if single else twins.quantize
        levels = rounded(values, mask, self.layout, steps, 1, LARGEST_LEVEL, key)
        if max(int(levels.max(initial=0)), -int(levels.min(initial=0))) == LARGEST_LEVEL:
            raise NonFiniteError(
                "an entry is beyond 2^31 steps of the lattice that the last broadcast decides"
            )
        found = Levels(levels, steps, self.bits, lattice=1, key=key)
        return Compressed(self.layout, mask, values.size, dequantize(found, self.layout, mask), found)
