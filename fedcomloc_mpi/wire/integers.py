"""Sequences of unsigned 32-bit integers <-> bytes: log-linear tokens in the entropy coder, low bits raw behind them.

The section of n integers: nothing if n = 0; else the symbols' section, whose first byte tells the tokens' mantissa
bits, then the low bits. docs/wire-format.md defines both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedcomloc_mpi import kernels
from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.kernels import BYTES, Mode, SymbolPlan

# Symbols on which the mode is chosen where there are more than twice as many, in chunks that show their order.
_SAMPLE = 1 << 15
_CHUNK = 1 << 10


@dataclass(frozen=True, eq=False)
class IntegerPlan:
    """Integers with the way to code them that was chosen; `size`: bytes that `encode` writes, or up to 8 more."""

    values: np.ndarray
    mantissa: int
    low_bits: int
    symbols: SymbolPlan | None
    size: int

    def encode(self) -> np.ndarray:
        """Return the section, uint8."""
        if self.symbols is None:
            return np.empty(0, dtype=np.uint8)
        low = kernels.pack_low(self.values, self.mantissa, self.low_bits)
        return np.concatenate((self.symbols.encode(), low))


def plan(
    values: np.ndarray,
    mantissa: int,
    modes: Sequence[Mode],
    classes: np.ndarray | None = None,
    universe: int = 0,
) -> IntegerPlan:
    """Choose the smallest of `modes` for uint32 [n]; the rest as in `kernels.plan_symbols`.

    Mode.CLASSES cannot be chosen among others.
    """
    if values.size == 0:
        return IntegerPlan(values, mantissa, 0, None, 0)
    tokens, low_bits = kernels.tokenise(values, mantissa)
    if len(modes) > 1 and tokens.size > 2 * _SAMPLE:
        # The mode is chosen on a part of a long sequence.
        chunks = tokens[: tokens.size // _CHUNK * _CHUNK].reshape(-1, _CHUNK)
        sample = chunks[:: max(chunks.shape[0] * _CHUNK // _SAMPLE, 1)].reshape(-1)
        modes = [min(modes, key=lambda mode: kernels.plan_symbols(sample, mantissa, mode).size)]
    plans = [kernels.plan_symbols(tokens, mantissa, mode, classes, universe) for mode in modes]
    best = min(plans, key=lambda plan: plan.size)
    return IntegerPlan(values, mantissa, low_bits, best, best.size + (low_bits + 7) // 8)


def decode(
    section: np.ndarray, count: int, classes: np.ndarray | None = None, universe: int = 0
) -> np.ndarray:
    """Return uint32 [count] of untrusted bytes, which must hold exactly that. Raises MessageError."""
    if count == 0:
        if section.size:
            raise MessageError("the message is damaged: bytes where nothing is coded")
        return np.empty(0, dtype=np.uint32)
    mantissa = int(section[0]) >> 3 if section.size else 0
    if mantissa >= BYTES:
        raise MessageError("the message is damaged: a section cannot be decoded")
    tokens, read = kernels.decode_symbols(section, count, mantissa, classes, universe)
    values, low_read = kernels.unpack_low(section[read:], tokens, mantissa)
    if read + low_read != section.size:
        raise MessageError(
            f"the message is damaged: {section.size - read - low_read} bytes too many in a section"
        )
    return values
