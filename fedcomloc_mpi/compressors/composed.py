"""Double compression: TopK first, then Q_r on what is kept."""

from dataclasses import dataclass, field

import numpy as np

from fedcomloc_mpi.compressors.compressed import Compressed
from fedcomloc_mpi.compressors.quantize import check_quantization, dequantize, quantize
from fedcomloc_mpi.compressors.topk import TopK
from fedcomloc_mpi.layout import Layout


@dataclass(frozen=True)
class TopKQuantize:
    """Keep ceil(density * d) entries and quantize them; one that rounds to 0 stays in the support."""

    layout: Layout
    density: float
    bits: int
    norm: str = "max"
    _topk: TopK = field(init=False, repr=False, compare=False)
    name = "topk+quantize"
    lossless = False

    def __post_init__(self) -> None:
        check_quantization(self.bits, self.norm)
        object.__setattr__(self, "_topk", TopK(self.layout, self.density))

    def compress(self, vector: np.ndarray, key: int, reference: np.ndarray | None = None) -> Compressed:
        """Return the kept, quantized entries of `vector`; see `Compressor.compress`."""
        kept = self._topk.compress(vector, key, reference)
        levels = quantize(kept.values, self.layout, kept.mask, self.bits, self.norm, key)
        values = dequantize(levels, self.layout, kept.mask)
        return Compressed(
            self.layout, kept.mask, kept.count, values, levels, known_indices=kept.known_indices
        )
