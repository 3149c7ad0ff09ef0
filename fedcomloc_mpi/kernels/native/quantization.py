"""Quantization in C."""

import numpy as np

from fedcomloc_mpi.kernels.native.binding import call, checked_bitmap, offsets_of, typed
from fedcomloc_mpi.layout import Layout


def quantize(
    values: np.ndarray,
    mask: np.ndarray | None,
    layout: Layout,
    scales: np.ndarray,
    steps: int,
    limit: int,
    key: int | None,
) -> np.ndarray:
    """Return int32 [k]: sign(v) * min(limit, floor(|v| / scale * steps + u)) of float32 [k], computed in float64.

    scales: float32, one a layer; u: `randomness.uniforms` of `key` at the entry's flat index, 1/2 where key is None.
    """
    levels = np.empty(typed(values, np.float32).size, dtype=np.int32)
    if typed(scales, np.float32).size != len(layout.sizes):
        raise ValueError(f"{len(layout.sizes)} scales are needed, not {scales.size}")
    mask = checked_bitmap(mask, layout.size)
    dither = 0 if key is None else 1
    call(
        "quantize", values, values.size, mask, layout.size, offsets_of(layout), scales, scales.size,
        steps, limit, key or 0, dither, levels,
    )  # fmt: skip
    return levels


def dequantize(
    levels: np.ndarray, mask: np.ndarray | None, layout: Layout, scales: np.ndarray, steps: int
) -> np.ndarray:
    """Return float32 [k]: level * scale / steps, computed in float64."""
    values = np.empty(typed(levels, np.int32).size, dtype=np.float32)
    if typed(scales, np.float32).size != len(layout.sizes):
        raise ValueError(f"{len(layout.sizes)} scales are needed, not {scales.size}")
    mask = checked_bitmap(mask, layout.size)
    call(
        "dequantize",
        levels,
        levels.size,
        mask,
        layout.size,
        offsets_of(layout),
        scales,
        scales.size,
        steps,
        values,
    )
    return values


def layer_maxima(values: np.ndarray, mask: np.ndarray | None, layout: Layout) -> np.ndarray:
    """Return float32 [layers]: the largest magnitude among each layer's kept entries, 0 where there is none."""
    maxima = np.empty(len(layout.sizes), dtype=np.float32)
    mask = checked_bitmap(mask, layout.size)
    call(
        "layer_maxima", typed(values, np.float32), values.size, mask, layout.size, offsets_of(layout), maxima.size,
        maxima,
    )  # fmt: skip
    return maxima
