"""The compressors by name, and which of them a configuration asks for.

A new compressor is one file with a class, and a call of `register_compressor`; see docs/extending.md.
"""

from collections.abc import Callable
from typing import Protocol

from fedcomloc_mpi.compressors.composed import TopKQuantize
from fedcomloc_mpi.compressors.compressor import Compressor
from fedcomloc_mpi.compressors.identity import Identity
from fedcomloc_mpi.compressors.lattice import LatticeQuantize
from fedcomloc_mpi.compressors.quantize import Quantize
from fedcomloc_mpi.compressors.topk import TopK
from fedcomloc_mpi.config import COMPRESSORS
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

    @property
    def compressor(self) -> str:
        """The name of a registered compressor; "topk": TopK and quantization as `density` and `bits` say."""
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


def register_compressor(name: str, factory: Factory) -> None:
    """Make what `factory(direction, layout)` returns available as `--compressor name`.

    It is asked for in the directions where the density is below 1 or the bits below 32, and its `density` and `bits`
    are what the bytes of the literature are counted from. Call it on every rank, before the configuration is made.
    Raises ValueError for a name that is taken.
    """
    if name in _FACTORIES or name in COMPRESSORS:
        raise ValueError(f"there is a compressor {name!r} already")
    COMPRESSORS[name] = None
    _FACTORIES[name] = factory


def names() -> tuple[str, ...]:
    """Return the names of all compressors."""
    return tuple(_FACTORIES)


def build(direction: Direction | None, layout: Layout) -> Compressor:
    """Return the compressor of one direction; the identity for None, and for density 1 with 32 bits."""
    if direction is None:
        return Identity(layout)
    if not 0 < direction.density <= 1:
        raise ValueError(f"density must be in (0, 1], not {direction.density}")
    if direction.compressor != "topk":
        return _FACTORIES[direction.compressor](direction, layout)
    if direction.lattice == "shared" and direction.bits != 32:
        return _FACTORIES["lattice"](direction, layout)
    parts = [
        name for name, asked in (("topk", direction.density < 1), ("quantize", direction.bits != 32)) if asked
    ]
    return _FACTORIES["+".join(parts) or "identity"](direction, layout)
