"""The entropy coder in C."""

from dataclasses import dataclass

import numpy as np

from fedcomloc_mpi.kernels.contexts import Mode
from fedcomloc_mpi.kernels.native.binding import WORKSPACE, call, constant, typed


@dataclass(frozen=True, eq=False)
class SymbolPlan:
    """Symbols, uint8 [n], with the tables chosen for them; `size`: bytes that `encode` writes, or up to 8 more."""

    symbols: np.ndarray
    size: int
    classes: np.ndarray | None
    groups: np.ndarray | None
    tables: np.ndarray

    def encode(self) -> np.ndarray:
        """Return the section, uint8, as docs/wire-format.md defines it."""
        bound = call("symbols_bound", self.symbols.size)
        out = WORKSPACE.take("symbols", bound, np.uint8)
        written = call(
            "encode_symbols",
            self.tables,
            self.symbols,
            self.symbols.size,
            self.classes,
            self.groups,
            out,
            bound,
        )
        return out[:written].copy()


def plan_symbols(
    symbols: np.ndarray, kind: int, mode: Mode, classes: np.ndarray | None = None, universe: int = 0
) -> SymbolPlan:
    """Choose tables for uint8 [n], n >= 1.

    kind: the tokens' mantissa bits, or `contexts.BYTES`. classes: uint8 [n] below 16, for Mode.CLASSES. universe: d
    where symbols are the tokens of the gaps of n marks among d, else 0.
    """
    if mode == Mode.CLASSES and (classes is None or typed(classes, np.uint8).size != symbols.size):
        raise ValueError("a class for every symbol is needed")
    count = typed(symbols, np.uint8).size
    groups = np.empty((count + 3) // 4, dtype=np.uint8) if mode == Mode.ADAPTIVE else None
    tables = np.empty((constant("plan_bytes") + 7) // 8, dtype=np.uint64)
    size = call("plan_symbols", tables, symbols, count, kind, int(mode), classes, groups, universe)
    return SymbolPlan(symbols, size, classes, groups, tables)


def decode_symbols(
    section: np.ndarray, count: int, kind: int, classes: np.ndarray | None = None, universe: int = 0
) -> tuple[np.ndarray, int]:
    """Return (uint8 [count], bytes read) of untrusted bytes; the rest as in `plan_symbols`. Raises MessageError."""
    if classes is not None and typed(classes, np.uint8).size != count:
        raise ValueError("a class for every symbol is needed")
    symbols = np.empty(count, dtype=np.uint8)
    work = WORKSPACE.take("decode", constant("decode_words"), np.uint32)
    read = call(
        "decode_symbols",
        typed(section, np.uint8),
        section.size,
        count,
        kind,
        classes,
        universe,
        symbols,
        work,
    )
    return symbols, read
