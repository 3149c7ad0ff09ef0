"""What a compressor returns and the wire carries: a support, and a value or a level for each entry of it."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors import bitmap
from fedcomloc_mpi.layout import Layout


@dataclass(frozen=True, eq=False)
class Levels:
    """Quantization levels of the kept entries.

    levels: int32 [k], signed, in index order. scales: float32 [number of layers] (float64 where the compressed vector
    is float64); an entry of layer i has the value float32(level * scales[i] / steps), computed in float64. bits:
    magnitude bits, 1 to 16. lattice: 0 where the scales are the quantized vector's own: then steps = 2^bits - 1, and no
    level is larger; else the scales are powers of two that the reference decides, steps = lattice (1, or the number of
    vectors that were averaged), and levels are bounded only by int32. key: of the uniforms that the levels were rounded
    with (`randomness.uniforms` at the flat index), None where each was rounded to the nearest.
    """

    levels: np.ndarray
    scales: np.ndarray
    bits: int
    lattice: int = 0
    key: int | None = None

    @property
    def steps(self) -> int:
        """What level * scale is divided by."""
        return self.lattice or (1 << self.bits) - 1

    @property
    def limit(self) -> int:
        """The largest magnitude that a level can have."""
        return (1 << 31) - 1 if self.lattice else (1 << self.bits) - 1


@dataclass(frozen=True, eq=False)
class Compressed:
    """A compressed vector of `layout.size` entries.

    mask: uint8 [ceil(d / 8)], bit i % 8 (least significant first) of byte i // 8 says that entry i is kept, padding
    bits are 0; None when every entry is kept. count: entries kept (k). values: float32 [k] (float64 in double-precision
    tests), in index order, exactly what the receiver will hold. levels: set when the values are quantized; they
    determine `values`. known_indices: the mask's indices where the maker has them already.
    """

    layout: Layout
    mask: np.ndarray | None
    count: int
    values: np.ndarray
    levels: Levels | None = None
    known_indices: np.ndarray | None = field(default=None, repr=False)

    def indices(self) -> np.ndarray:
        """Return the kept entries' indices, int64 [k], ascending; computed once, not to be written to."""
        if self.known_indices is None:
            size = self.layout.size
            found = np.arange(size) if self.mask is None else bitmap.to_indices(self.mask, size)
            object.__setattr__(self, "known_indices", found)
        assert self.known_indices is not None
        return self.known_indices

    @cached_property
    def nonzero_mask(self) -> np.ndarray:
        """Of a vector whose every entry is kept: the bitmap of those whose bits, or levels, are not all 0.

        -0 belongs to it; a level of 0 is +0.
        """
        return kernels.support(self.values if self.levels is None else self.levels.levels.view(np.float32))

    @cached_property
    def nonzero_values(self) -> np.ndarray:
        """float32: the values of the entries in `nonzero_mask`."""
        count = kernels.popcount(self.nonzero_mask)
        return self.values if count == self.count else kernels.gather(self.values, self.nonzero_mask, count)

    def write_to(self, out: np.ndarray) -> None:
        """Write the decompressed vector into `out` (1-D, length d, any float dtype)."""
        if self.mask is None:
            out[:] = self.values
        elif out.dtype == self.values.dtype == np.float32 and out.flags.c_contiguous:
            kernels.scatter(self.values, self.mask, out)
        else:
            out.fill(0)
            out[self.indices()] = self.values


def layer_bounds(layout: Layout, indices: np.ndarray | None) -> list[int]:
    """Return where each layer begins among the kept entries: layer i's are numbers bounds[i] to bounds[i + 1] - 1.

    `indices`: the kept entries, integers, ascending; None when every entry is kept.
    """
    if indices is None:
        return list(layout.offsets)
    return [int(bound) for bound in np.searchsorted(indices, layout.offsets)]
