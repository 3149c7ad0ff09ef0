"""Q_r: unbiased stochastic rounding of each entry to one of 2^r - 1 magnitude levels and a sign, one scale a layer.

level = floor(|v| / scale * s + u), s = 2^r - 1, u uniform in [0, 1), all in float64; value = sign * level * scale / s.
The scale is max|v| of the layer, or with the norm "l2" the layer's Euclidean norm, as in QSGD (Alistarh et al., NeurIPS
2017). The uniform of an entry belongs to its index in the whole vector, so it does not depend on what else is kept.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import numpy as np

from fedcomloc_mpi.compressors.compressed import Compressed, Levels, layer_bounds
from fedcomloc_mpi.compressors.compressor import check_finite, check_vector
from fedcomloc_mpi.errors import NonFiniteError
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.randomness import uniforms

NORMS = ("max", "l2")
MAX_BITS = 16

# Entries worked on at a time, so that the float64 temporaries stay in the cache.
_BLOCK = 1 << 14


def quantize(
    values: np.ndarray, layout: Layout, indices: np.ndarray | None, bits: int, norm: str, key: int
) -> Levels:
    """Return the levels of `values`, float32 or float64 [k], finite, the entries `indices` (None: all) of a vector.

    Raises NonFiniteError where a Euclidean norm overflows the dtype of `values`.
    """
    bounds = layer_bounds(layout, indices)
    steps = (1 << bits) - 1
    levels = np.zeros(values.size, dtype=np.int32)
    scales = np.zeros(len(layout.sizes), dtype=values.dtype)
    for layer, (begin, end) in enumerate(pairwise(bounds)):
        if begin == end:
            continue
        scale = _scale(values[begin:end], norm)
        scales[layer] = scale
        if scale == 0:
            continue
        for start in range(begin, end, _BLOCK):
            stop = min(start + _BLOCK, end)
            block = values[start:stop]
            entries = np.arange(start, stop) if indices is None else indices[start:stop]
            scaled = np.abs(block).astype(np.float64)
            scaled /= scale
            scaled *= steps
            scaled += uniforms(key, entries)
            np.floor(scaled, out=scaled)
            # The largest entry sits on the top level; a u within half an ulp of 1 would round the sum beyond it.
            np.minimum(scaled, steps, out=scaled)
            levels[start:stop] = np.copysign(scaled, block)
    return Levels(levels, scales, bits)


def dequantize(levels: Levels, bounds: list[int]) -> np.ndarray:
    """Return the values, [k] of the scales' dtype, of `levels`; `bounds` as `layer_bounds` returns them."""
    steps = (1 << levels.bits) - 1
    values = np.zeros(levels.levels.size, dtype=levels.scales.dtype)
    for layer, (begin, end) in enumerate(pairwise(bounds)):
        scale = float(levels.scales[layer])
        for start in range(begin, end, _BLOCK):
            stop = min(start + _BLOCK, end)
            block = levels.levels[start:stop].astype(np.float64)
            block *= scale
            block /= steps
            values[start:stop] = block
    return values


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
        values = dequantize(levels, layer_bounds(self.layout, None))
        return Compressed(self.layout, None, self.layout.size, values, levels)


def check_quantization(bits: int, norm: str) -> None:
    """Raise ValueError unless `bits` is 1 to 16 and `norm` is known."""
    if not 1 <= bits <= MAX_BITS:
        raise ValueError(f"bits must be 1 to {MAX_BITS}, not {bits}")
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, not {norm!r}")
