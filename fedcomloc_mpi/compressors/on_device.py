"""The compressors for vectors on a torch device: selection, bitmap and levels are made there, and cross packed.

What crosses to the host is what a `Compressed` consists of: the bitmap, and the kept values as float32 or as levels of
the smallest integer type that holds them. It is the same, bit for bit, as the compressors make of the same vector on
the host. The Euclidean scale (--quant-norm l2) is a sum whose order decides its last bits, so there the kept values
cross, and the host quantizes them. Compressors that only the host knows are given the whole vector there.

Not imported with the package: it needs torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors.composed import TopKQuantize
from fedcomloc_mpi.compressors.compressed import Compressed, Levels
from fedcomloc_mpi.compressors.compressor import Compressor
from fedcomloc_mpi.compressors.identity import Identity
from fedcomloc_mpi.compressors.lattice import LARGEST_LEVEL, LatticeQuantize, lattice_steps
from fedcomloc_mpi.compressors.quantize import Quantize, dequantize, quantize
from fedcomloc_mpi.compressors.topk import TopK, kept_entries
from fedcomloc_mpi.errors import NonFiniteError
from fedcomloc_mpi.kernels import device
from fedcomloc_mpi.kernels.staging import to_device, to_host
from fedcomloc_mpi.layout import Layout

_BUILT_IN = (Identity, TopK, Quantize, TopKQuantize, LatticeQuantize)


@dataclass(frozen=True)
class _Kept:
    """The kept entries of n rows, on the device: flags, bool [n, d], None for all; indices, int64 [n, k] or [d]."""

    flags: Tensor | None
    indices: Tensor
    values: Tensor

    @classmethod
    def of(cls, rows: Tensor, k: int) -> Self:
        if k == rows.shape[1]:
            return cls(None, torch.arange(k, device=rows.device), rows)
        flags = device.select(rows, k)
        indices = device.positions(flags, k)
        return cls(flags, indices, rows.gather(1, indices))


@dataclass(frozen=True)
class _Rounded:
    """Levels of the kept entries, on the device: int32 [n, k], of scales float32 [n, layers]."""

    levels: Tensor
    scales: Tensor
    layers: Tensor
    steps: int


@dataclass(frozen=True)
class DeviceCompressor:
    """C(.) of several vectors that lie on one device, as `compressor` would make it on the host."""

    compressor: Compressor
    layout: Layout

    def compress(
        self, rows: Tensor, keys: Sequence[int], reference: np.ndarray | None = None
    ) -> list[Compressed | None]:
        """Return C of every row of float32 [n, d], contiguous; None for a row that is not finite.

        keys: of each row; reference: float32 [d] in host memory, of all rows; see `Compressor.compress`. A row whose
        compression fails as that of a vector that is not finite does is None too.
        """
        if type(self.compressor) not in _BUILT_IN:
            (host,) = to_host([rows])
            return [self._on_host(row, key, reference) for row, key in zip(host, keys, strict=True)]
        kept = _Kept.of(rows, self._k)
        crossing = [device.all_finite(rows), *([] if kept.flags is None else [device.pack(kept.flags)])]
        rounded = self._rounded(rows, kept, keys, reference)
        if rounded is None:
            crossing.append(kept.values)
        else:
            crossing += [rounded.scales, rounded.levels.to(self._level_type)]
        finite, *masks, last = to_host(crossing)
        scales = masks.pop() if rounded is not None else None
        return [
            self._compressed(
                last[row], masks[0][row] if masks else None, None if scales is None else scales[row], key
            )
            if finite[row]
            else None
            for row, key in enumerate(keys)
        ]

    def decompressed(self, rows: Tensor, keys: Sequence[int], reference: np.ndarray | None = None) -> Tensor:
        """Return C of every row of float32 [n, d], decompressed, float32 [n, d] on the rows' device.

        A row that is not finite stays so.
        """
        if type(self.compressor) not in _BUILT_IN or self._norm == "l2":
            found = self.compress(rows, keys, reference)
            out = np.full(rows.shape, np.nan, dtype=np.float32)
            for each, row in zip(found, out, strict=True):
                if each is not None:
                    each.write_to(row)
            return to_device([torch.from_numpy(row) for row in out], rows.device)
        kept = _Kept.of(rows, self._k)
        rounded = self._rounded(rows, kept, keys, reference)
        values = kept.values
        if rounded is not None:
            values = device.dequantize(rounded.levels, rounded.layers, rounded.scales, rounded.steps)
        dense = values if kept.flags is None else torch.zeros_like(rows).scatter_(1, kept.indices, values)
        return torch.where(device.all_finite(rows)[:, None], dense, torch.nan)

    def _rounded(
        self, rows: Tensor, kept: _Kept, keys: Sequence[int], reference: np.ndarray | None
    ) -> _Rounded | None:
        """Return the levels of the kept entries, or None where float32 values cross."""
        if self.compressor.bits == 32 or self._norm == "l2":
            return None
        layers = device.layer_of(kept.indices, self.layout)
        scales = device.layer_maxima(rows, self.layout, kept.flags)
        steps = limit = (1 << self.compressor.bits) - 1
        if self._on_lattice:
            scales, steps, limit = self._lattice(scales, reference), 1, LARGEST_LEVEL
        offsets = device.uniforms(keys, kept.indices)
        levels = device.quantize(kept.values, layers, scales, steps, limit, offsets)
        return _Rounded(levels, scales, layers, steps)

    def _lattice(self, maxima: Tensor, reference: np.ndarray | None) -> Tensor:
        """Return the steps of every row, float32 [n, layers]; `maxima`: of its kept entries."""
        bits = self.compressor.bits
        (own,) = to_host([maxima])
        steps = lattice_steps(own.reshape(-1), bits).reshape(own.shape)
        if reference is not None:
            given = lattice_steps(kernels.layer_maxima(reference, None, self.layout), bits)
            steps = np.where(given == 0, steps, given)
        return torch.from_numpy(np.ascontiguousarray(steps)).to(maxima.device)

    def _compressed(
        self, last: np.ndarray, mask: np.ndarray | None, scales: np.ndarray | None, key: int
    ) -> Compressed | None:
        """Return one row's result from what has crossed: its levels if there are `scales`, else its values."""
        layout, bits = self.layout, self.compressor.bits
        if scales is not None:
            lattice = int(self._on_lattice)
            levels = Levels(last.astype(np.int32), scales, bits, lattice, key)
            largest = max(int(levels.levels.max(initial=0)), -int(levels.levels.min(initial=0)))
            if lattice and largest == LARGEST_LEVEL:
                return None
        elif bits != 32:
            try:
                levels = quantize(last, layout, mask, bits, self._norm, key)
            except NonFiniteError:
                return None
        else:
            return Compressed(layout, mask, last.size, last.copy())
        return Compressed(layout, mask, last.size, dequantize(levels, layout, mask), levels)

    def _on_host(self, row: np.ndarray, key: int, reference: np.ndarray | None) -> Compressed | None:
        try:
            return self.compressor.compress(row, key, reference)
        except NonFiniteError:
            return None

    @property
    def _k(self) -> int:
        return kept_entries(self.compressor.density, self.layout.size)

    @property
    def _norm(self) -> str:
        return str(getattr(self.compressor, "norm", "max"))

    @property
    def _on_lattice(self) -> bool:
        return isinstance(self.compressor, LatticeQuantize)

    @property
    def _level_type(self) -> torch.dtype:
        """The smallest integer type that holds every level; on the lattice they are bounded by int32 only."""
        bits = self.compressor.bits
        if self._on_lattice or bits == 16:
            return torch.int32
        return torch.int8 if bits < 8 else torch.int16
