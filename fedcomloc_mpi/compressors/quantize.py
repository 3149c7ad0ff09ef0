"""Q_r: unbiased stochastic rounding of each entry to one of 2^r - 1 magnitude levels and a sign, one scale a layer.

level = floor(|v| / scale * s + u), s = 2^r - 1, u uniform in [0, 1), all in float64; value = sign * level * scale / s.
The scale is max|v| of the layer, or with the norm "l2" the layer's Euclidean norm, as in QSGD (Alistarh et al., NeurIPS
2017). The uniform of an entry belongs to its index in the whole vector, so it does not depend on what else is kept.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import numpy as np

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors import bitmap
from fedcomloc_mpi.compressors.compressed import Compressed, Levels, layer_bounds
from fedcomloc_mpi.compressors.compressor import check_finite, check_vector
from fedcomloc_mpi.errors import NonFiniteError
from fedcomloc_mpi.kernels import twins
from fedcomloc_mpi.layout import Layout

NORMS = ("max", "l2")
MAX_BITS = 16


def quantize(
    values: np.ndarray, layout: Layout, mask: np.ndarray | None, bits: int, norm: str, key: int
) -> Levels:
    """Return the levels of `values`, float32 or float64 [k], finite, the entries of `mask` (None: all) of a vector.

    Raises NonFiniteError where a Euclidean norm overflows the dtype of `values`.
    """
    steps = (1 << bits) - 1
    single = values.dtype == np.float32
    if single and norm == "max":
        scales = kernels.layer_maxima(values, mask, layout)
    else:
        bounds = layer_bounds(layout, None if mask is None else bitmap.to_indices(mask, layout.size))
        scales = np.zeros(len(layout.sizes), dtype=values.dtype)
        for layer, (begin, end) in enumerate(pairwise(bounds)):
            if begin < end:
                scales[layer] = _scale(values[begin:end], norm)
    # The largest entry sits on the top level; a u within half an ulp of 1 would round the sum beyond it: hence a limit.
    rounded = kernels.quantize if single else twins.quantize
    return Levels(rounded(values, mask, layout, scales, steps, steps, key), scales, bits, key=key)


def dequantize(levels: Levels, layout: Layout, mask: np.ndarray | None) -> np.ndarray:
    """Return the values, [k] of the scales' dtype, of the `levels` of the entries of `mask` (None: all)."""
    single = levels.scales.dtype == np.float32
    computed = kernels.dequantize if single else twins.dequantize
    return computed(levels.levels, mask, layout, levels.scales, levels.steps)


def _scale(values: np.ndarray, norm: str) -> float:
    """Return the scale of one layer's kept `values` (not empty), rounded to their dtype."""
    # abs(): the maximum of zeros of both signs may be -0.
    largest = abs(max(float(values.max()), -float(values.min())))
    if norm == "max" or largest == 0:
        return largest
    # Divided by the largest, squares neither overflow nor vanish, and the norm is never below the largest entry.
    relative = values.astype(np.float64)
    relative /= largest
    relative *= relative
    exact = largest * sqrt(float(relative.sum()))
    with np.errstate(over="ignore"):
        rounded = float(values.dtype.type(exact))
    if rounded == float("inf"):
        raise NonFiniteError(f"the Euclidean norm of a layer, {exact:.3g}, overflows {values.dtype}")
    return rounded


@dataclass(frozen=True)
class Quantize:
    """Quantize every entry to `bits` magnitude bits (1 to 16) and a sign; `norm` is "max" or "l2"."""

    layout: Layout
    bits: int
    norm: str = "max"
    name = "quantize"
    lossless = False
    density = 1.0

    def __post_init__(self) -> None:
        check_quantization(self.bits, self.norm)

    def compress(self, vector: np.ndarray, key: int, reference: np.ndarray | None = None) -> Compressed:
        """Return the quantized `vector`; see `Compressor.compress`."""
        check_vector(vector, self.layout)
        check_finite(vector)
        levels = quantize(vector, self.layout, None, self.bits, self.norm, key)
        values = dequantize(levels, self.layout, None)
        return Compressed(self.layout, None, self.layout.size, values, levels)


def check_quantization(bits: int, norm: str) -> None:
    """Raise ValueError unless `bits` is 1 to 16 and `norm` is known."""
    if not 1 <= bits <= MAX_BITS:
        raise ValueError(f"bits must be 1 to {MAX_BITS}, not {bits}")
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, not {norm!r}")
