"""Select, bitmap and quantization in torch, for rows on any device: the same bits as in C and in numpy.

The functions take [n, d] at once, one row a client. Everything is either integer arithmetic or single IEEE operations
on float64 tensors, so that a GPU computes what a CPU does. Divisors are tensors on the rows' device: torch divides a
CUDA tensor by a number of the host by multiplying with its reciprocal, which rounds otherwise.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from fedcomloc_mpi.layout import Layout

_WITHOUT_SIGN = 0x7FFFFFFF
_INFINITY = 0x7F800000
# SplitMix64, as in `fedcomloc_mpi.randomness`; int64 multiplies and adds modulo 2^64 too.
_INCREMENT, _MULTIPLIER_1, _MULTIPLIER_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def magnitudes(rows: Tensor) -> Tensor:
    """Return int32 [n, d]: the bit patterns of float32 `rows` without their sign, ordered as the magnitudes are."""
    return rows.view(torch.int32) & _WITHOUT_SIGN


def all_finite(rows: Tensor) -> Tensor:
    """Return bool [n]: whether no entry of a row of float32 [n, d] is NaN or infinite."""
    return (magnitudes(rows) < _INFINITY).all(dim=1)


def select(rows: Tensor, k: int) -> Tensor:
    """Return bool [n, d]: in every row of float32 [n, d] the `k` entries of largest magnitude, 0 <= k <= d.

    Of equal ones the lowest index wins. NaN and infinities count as the largest.
    """
    if k == 0 or k == rows.shape[1]:
        return torch.full(rows.shape, k > 0, dtype=torch.bool, device=rows.device)
    ordered = magnitudes(rows)
    threshold = ordered.topk(k, dim=1, sorted=False).values.amin(dim=1, keepdim=True)
    above, ties = ordered > threshold, ordered == threshold
    wanted = k - above.sum(dim=1, keepdim=True)
    return above | (ties & (ties.cumsum(dim=1) <= wanted))


def pack(flags: Tensor) -> Tensor:
    """Return the bitmaps, uint8 [n, ceil(d / 8)], of bool [n, d]: entry i in bit i % 8 of byte i // 8."""
    count, size = flags.shape
    padded = torch.nn.functional.pad(flags.to(torch.uint8), (0, -size % 8)).view(count, (size + 7) // 8, 8)
    return (padded << torch.arange(8, dtype=torch.uint8, device=flags.device)).sum(dim=2, dtype=torch.uint8)


def positions(flags: Tensor, k: int) -> Tensor:
    """Return int64 [n, k]: the indices of the set entries of bool [n, d], of which every row has `k`."""
    return flags.nonzero()[:, 1].view(flags.shape[0], k)


def layer_of(indices: Tensor, layout: Layout) -> Tensor:
    """Return the layer of each flat index, int64."""
    ends = torch.tensor(layout.offsets[1:], device=indices.device)
    return torch.bucketize(indices, ends, right=True)


def layer_maxima(rows: Tensor, layout: Layout, flags: Tensor | None = None) -> Tensor:
    """Return float32 [n, layers]: the largest magnitude of each layer of float32 [n, d] where `flags` are set.

    `flags`: bool [n, d], None for all; 0 where a layer has none.
    """
    kept = rows.abs() if flags is None else torch.where(flags, rows.abs(), 0)
    nothing = kept.new_zeros(len(kept))
    return torch.stack(
        [
            kept[:, begin:end].amax(dim=1) if begin < end else nothing
            for begin, end in pairwise(layout.offsets)
        ],
        dim=1,
    )


def uniforms(keys: Sequence[int], indices: Tensor) -> Tensor:
    """Return float64 [n, k] in [0, 1): for row i what `randomness.uniforms` returns for keys[i] and its `indices`.

    keys: integers in [0, 2^64); indices: int64 [n, k], or [k] for all rows.
    """
    starts = torch.tensor([_signed(key) for key in keys], dtype=torch.int64, device=indices.device)
    z = (indices + 1) * _signed(_INCREMENT) + starts[:, None]
    z = (z ^ _shifted(z, 30)) * _signed(_MULTIPLIER_1)
    z = (z ^ _shifted(z, 27)) * _signed(_MULTIPLIER_2)
    z = z ^ _shifted(z, 31)
    return _shifted(z, 11).to(torch.float64) * 2.0**-53


def quantize(
    values: Tensor, layers: Tensor, scales: Tensor, steps: int, limit: int, offsets: Tensor
) -> Tensor:
    """Return int32 [n, k]: sign(v) * min(limit, floor(|v| / scale * steps + offset)) of float32 [n, k].

    layers: int64 [n, k] or [k], the layer of each value; scales: float32 [n, layers], 0 where all values of the layer
    are; offsets: float64, `uniforms` of the values' indices.
    """
    scale = _per_entry(scales, layers)
    scaled = values.abs().to(torch.float64) / torch.where(scale == 0, 1, scale)
    levels = torch.floor((scaled * steps + offsets).clamp_(max=limit)).to(torch.int32)
    return torch.where(scale == 0, 0, torch.where(values < 0, -levels, levels))


def dequantize(levels: Tensor, layers: Tensor, scales: Tensor, steps: int) -> Tensor:
    """Return float32 [n, k]: level * scale / steps, computed in float64."""
    divisor = torch.full((1,), steps, dtype=torch.float64, device=levels.device)
    return (levels.to(torch.float64) * _per_entry(scales, layers) / divisor).to(torch.float32)


def _per_entry(scales: Tensor, layers: Tensor) -> Tensor:
    """Return float64 [n, k]: the scale of each entry's layer."""
    wide = scales.to(torch.float64)
    return wide[:, layers] if layers.dim() == 1 else wide.gather(1, layers)


def _signed(word: int) -> int:
    """Return the int64 of the same 64 bits."""
    return word - (1 << 64) if word >= 1 << 63 else word


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Return `z`, int64, shifted right as an unsigned number."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
