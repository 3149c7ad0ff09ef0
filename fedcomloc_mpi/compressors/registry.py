"""The compressors by name, and which of them a configuration asks for.

A new compressor is one file with a class, and one line in `_FACTORIES`.
"""

from collections.abc import Callable
from typing import Protocol

from fedcomloc_mpi.compressors.composed import TopKQuantize
from fedcomloc_mpi.compressors.compressor import Compressor
from fedcomloc_mpi.compressors.identity import Identity
from fedcomloc_mpi.compressors.lattice import LatticeQuantize
from fedcomloc_mpi.compressors.quantize import Quantize
from fedcomloc_mpi.compressors.topk import TopK
from fedcomloc_mpi.layout import Layout


class Direction(Protocol):
    """How one direction is compressed; what the configuration resolves."""

    @property
    def density(self) -> float:
        """Fraction of entries kept, in (0, 1]."""
        ...

    @property
    def bits(self) -> int:
        """Magnitude bits, 1 to 16; 32 for no quantization."""
        ...

    @property
    def quant_norm(self) -> str:
        """The scale of quantization: "max" or "l2"."""
        ...

    @property
    def lattice(self) -> str:
        """Whose scales: "own", or "shared" with the reference."""
        ...


Factory = Callable[[Direction, Layout], Compressor]

_FACTORIES: dict[str, Factory] = {
    "identity": lambda direction, layout: Identity(layout),
    "topk": lambda direction, layout: TopK(layout, direction.density),
    "quantize": lambda direction, layout: Quantize(layout, direction.bits, direction.quant_norm),
    "topk+quantize": lambda direction, layout: TopKQuantize(
        layout, direction.density, direction.bits, direction.quant_norm
    ),
    "lattice": lambda direction, layout: LatticeQuantize(layout, direction.density, direction.bits),
}


def names() -> tuple[str, ...]:
    """Return the names of all compressors."""
    return tuple(_FACTORIES)


def build(direction: Direction | None, layout: Layout) -> Compressor:
    """Return the compressor of one direction; the identity for None, and for density 1 with 32 bits."""
    if direction is None:
        return Identity(layout)
    if not 0 < direction.density <= 1:
        raise ValueError(f"density must be in (0, 1], not {direction.density}")
    if direction.lattice == "shared" and direction.bits != 32:
        return _FACTORIES["lattice"](direction, layout)
    parts = [
        name for name, asked in (("topk", direction.density < 1), ("quantize", direction.bits != 32)) if asked
    ]
    return _FACTORIES["+".join(parts) or "identity"](direction, layout)
