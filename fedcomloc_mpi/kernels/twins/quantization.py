"""Quantization in numpy; the functions are documented in `native`. They also take float64 values and scales."""

from itertools import pairwise

import numpy as np

from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.randomness import uniforms


def _indices(mask: np.ndarray | None, layout: Layout) -> np.ndarray:
    if mask is None:
        return np.arange(layout.size)
    return np.flatnonzero(np.unpackbits(mask, count=layout.size, bitorder="little"))


def quantize(
    values: np.ndarray,
    mask: np.ndarray | None,
    layout: Layout,
    scales: np.ndarray,
    steps: int,
    limit: int,
    key: int | None,
) -> np.ndarray:
    """Return sign(v) * min(limit, floor(|v| / scale * steps + u))."""
    indices = _indices(mask, layout)
    levels = np.zeros(values.size, dtype=np.int32)
    for layer, (begin, end) in enumerate(pairwise(np.searchsorted(indices, layout.offsets))):
        scale = float(scales[layer])
        if scale == 0 or begin == end:
            continue
        block = values[begin:end]
        offset = 0.5 if key is None else uniforms(key, indices[begin:end])
        with np.errstate(over="ignore"):
            scaled = np.abs(block).astype(np.float64) / scale * steps + offset
        levels[begin:end] = np.copysign(np.floor(np.minimum(scaled, limit)), block)
    return levels


def dequantize(
    levels: np.ndarray, mask: np.ndarray | None, layout: Layout, scales: np.ndarray, steps: int
) -> np.ndarray:
    """Return level * scale / steps."""
    layers = np.searchsorted(layout.offsets[1:], _indices(mask, layout), side="right")
    with np.errstate(over="ignore"):
        return (levels.astype(np.float64) * scales.astype(np.float64)[layers] / steps).astype(scales.dtype)


def layer_maxima(values: np.ndarray, mask: np.ndarray | None, layout: Layout) -> np.ndarray:
    """Return the largest magnitude of each layer."""
    bounds = np.searchsorted(_indices(mask, layout), layout.offsets)
    maxima = [np.abs(values[begin:end]).max(initial=0) for begin, end in pairwise(bounds)]
    return np.array(maxima, dtype=values.dtype)
