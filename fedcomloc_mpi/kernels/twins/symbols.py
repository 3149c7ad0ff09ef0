"""Interleaved rANS over symbols in contexts, in Python; docs/wire-format.md defines the section.

rANS: Duda, "Asymmetric numeral systems", arXiv 1311.2540; four interleaved lanes of 32-bit states, 16-bit words.
"""

from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.kernels.contexts import BYTES, CONTEXTS, Mode
from fedcomloc_mpi.kernels.twins.tables import (
    FRACTION,
    PROBABILITY_BITS,
    BitReader,
    coded_size,
    describe,
    geometric_table,
    own_table,
    parse,
)
from fedcomloc_mpi.kernels.twins.tokens import token_base, token_count

_LANES = 4
_LOW = 1 << 16
_SLOT_MASK = (1 << PROBABILITY_BITS) - 1
_LARGEST_SIZE = 65536

Histogram = list[int]


class _Mean:
    """The running mean behind Mode.ADAPTIVE."""

    def __init__(self, kind: int) -> None:
        self._sizes = [min(token_base(token, kind), _LARGEST_SIZE) for token in range(token_count(kind))]
        self._mean = 0

    @property
    def context(self) -> int:
        return min(self._mean.bit_length(), CONTEXTS - 1)

    def update(self, group: list[int]) -> None:
        self._mean += sum(self._sizes[symbol] for symbol in group) - (self._mean >> 2)


def _contexts(symbols: list[int], kind: int, mode: Mode, classes: np.ndarray | None) -> list[int]:
    """Return the context of every symbol."""
    if mode == Mode.CLASSES:
        assert classes is not None
        return [int(each) for each in classes]
    if mode == Mode.SINGLE:
        return [0] * len(symbols)
    mean, contexts = _Mean(kind), []
    for start in range(0, len(symbols), _LANES):
        group = symbols[start : start + _LANES]
        contexts += [mean.context] * len(group)
        if len(group) == _LANES:
            mean.update(group)
    return contexts


@dataclass(frozen=True, eq=False)
class SymbolPlan:
    """Symbols with the tables chosen for them; `size`: bytes that `encode` writes, or up to 8 more."""

    symbols: list[int]
    contexts: list[int]
    size: int
    head: bytes
    tables: list[list[int]]
    table_of: list[int]

    def encode(self) -> np.ndarray:
        """Return the section, uint8."""
        starts = [[0, *accumulate(table)] for table in self.tables]
        states = [_LOW] * _LANES
        words: list[int] = []
        for place in reversed(range(len(self.symbols))):
            symbol, table = self.symbols[place], self.table_of[self.contexts[place]]
            frequency, x = self.tables[table][symbol], states[place % _LANES]
            if x >= frequency << 20:
                words.append(x & 0xFFFF)
                x >>= 16
            states[place % _LANES] = (
                (x // frequency << PROBABILITY_BITS) + x % frequency + starts[table][symbol]
            )
        body = np.array(states, dtype="<u4").tobytes() + np.array(words[::-1], dtype="<u2").tobytes()
        return np.frombuffer(self.head + body, dtype=np.uint8)


def _own_size(histogram: Histogram) -> int:
    """Return the size of a table and its symbols in units of 2^-FRACTION bit."""
    if not any(histogram):
        return 0
    return (len(describe(histogram)) << FRACTION) + coded_size(histogram, own_table(histogram))


def _merge(histograms: list[Histogram]) -> tuple[list[Histogram], list[int], int]:
    """Merge neighbouring tables, best gain first, while that makes the whole smaller.

    Returns the histograms by table, the first context of each table, and the size.
    """
    tables, first = list(histograms), list(range(len(histograms)))
    sizes = [_own_size(histogram) for histogram in tables]
    together: list[int | None] = [None] * len(tables)
    while True:
        best, gain = -1, 0
        for left in range(len(tables) - 1):
            empty = not sizes[left] or not sizes[left + 1]
            apart = sizes[left] + sizes[left + 1]
            merged = together[left]
            if merged is None:
                both = [a + b for a, b in zip(tables[left], tables[left + 1], strict=True)]
                merged = together[left] = apart if empty else _own_size(both)
            if empty or apart - merged > gain:
                best, gain = left, apart - merged
                if empty:
                    break
        if best < 0:
            return tables, first, sum(sizes)
        tables[best] = [a + b for a, b in zip(tables[best], tables.pop(best + 1), strict=True)]
        merged = together[best]
        assert merged is not None
        sizes[best] = merged
        del sizes[best + 1], first[best + 1], together[best + 1]
        together[best] = None
        if best:
            together[best - 1] = None


def _head(mode: Mode, geometric: bool, kind: int, starts: int) -> bytes:
    head = bytes([mode | geometric << 2 | kind << 3])
    return head if mode == Mode.SINGLE else head + starts.to_bytes(2, "little")


def plan_symbols(
    symbols: np.ndarray, kind: int, mode: Mode, classes: np.ndarray | None = None, universe: int = 0
) -> SymbolPlan:
    """Choose tables for uint8 [n], n >= 1."""
    if mode == Mode.ADAPTIVE and kind == BYTES:
        raise ValueError("plain bytes have no sizes to adapt to")
    plain = [int(symbol) for symbol in symbols]
    contexts = _contexts(plain, kind, mode, classes)
    joint = np.zeros((CONTEXTS, 256), dtype=np.int64)
    np.add.at(joint, (contexts, plain), 1)
    histograms: list[Histogram] = joint.tolist()
    if mode == Mode.SINGLE:
        tables, first, size = histograms[:1], [0], _own_size(histograms[0])
    else:
        tables, first, size = _merge(histograms)
    frequencies = [own_table(table) for table in tables]
    geometric = False
    if universe and mode == Mode.SINGLE and kind != BYTES:
        parametric = geometric_table(len(plain), universe, kind, len(frequencies[0]))
        parametric_size = (8 << FRACTION) + coded_size(tables[0], parametric)
        if parametric_size <= size:
            geometric, size, frequencies = True, parametric_size, [parametric]
    head = _head(mode, geometric, kind, sum(1 << context for context in first))
    size += 8 * len(head) << FRACTION
    if geometric:
        head += bytes([len(frequencies[0]) - 1])
    else:
        bits = [bit for table in tables for bit in describe(table)]
        head += np.packbits(np.array(bits, dtype=np.uint8), bitorder="little").tobytes()
    table_of = [
        table for table, (begin, end) in enumerate(pairwise([*first, CONTEXTS])) for _ in range(begin, end)
    ]
    whole = ((size + (8 << FRACTION) - 1) >> (FRACTION + 3)) + 4 * _LANES
    return SymbolPlan(plain, contexts, whole, head, frequencies, table_of)


def _read_tables(section: bytes, count: int, kind: int, universe: int) -> tuple[Mode, list[list[int]], int]:
    """Return the mode, the frequencies by context, and where the lanes' states begin."""
    damaged = MessageError("the message is damaged: a section cannot be decoded")
    alphabet = 256 if kind == BYTES else token_count(kind)
    reader = BitReader(section)
    mode_number, geometric, found_kind = reader.take(2), reader.take(1), reader.take(5)
    if found_kind != kind or mode_number > Mode.CLASSES:
        raise damaged
    mode = Mode(mode_number)
    if (mode == Mode.ADAPTIVE and kind == BYTES) or (
        geometric and (mode != Mode.SINGLE or kind == BYTES or count > universe)
    ):
        raise damaged
    if geometric:
        symbols = reader.take(8) + 1
        if symbols > alphabet:
            raise damaged
        return mode, [geometric_table(count, universe, kind, symbols)] * CONTEXTS, 2
    starts = 1 if mode == Mode.SINGLE else reader.take(16)
    if not starts & 1:
        raise damaged
    tables: list[list[int]] = []
    for context in range(CONTEXTS):
        tables.append(parse(reader, alphabet) if starts >> context & 1 else tables[-1])
    return mode, tables, (reader.position + 7) // 8


def decode_symbols(
    section: np.ndarray, count: int, kind: int, classes: np.ndarray | None = None, universe: int = 0
) -> tuple[np.ndarray, int]:
    """Return (uint8 [count], bytes read) of untrusted bytes."""
    damaged = MessageError("the message is damaged: a section cannot be decoded")
    data = section.tobytes()
    mode, tables, at = _read_tables(data, count, kind, universe)
    if mode == Mode.CLASSES and classes is None:
        raise damaged
    slots = {id(t): [(s, f, j) for s, f in enumerate(t) for j in range(f)] for t in tables}
    by_context = [slots[id(table)] for table in tables]
    if len(data) - at < 4 * _LANES:
        raise MessageError("the message is cut short inside a section")
    states = [int.from_bytes(data[at + 4 * lane : at + 4 * lane + 4], "little") for lane in range(_LANES)]
    at += 4 * _LANES
    if min(states) < _LOW:
        raise damaged
    mean = _Mean(kind) if mode == Mode.ADAPTIVE else None
    symbols: list[int] = []
    for place in range(count):
        if mode == Mode.CLASSES:
            assert classes is not None
            context = int(classes[place])
        else:
            context = 0 if mean is None else mean.context
        x = states[place % _LANES]
        symbol, frequency, offset = by_context[context][x & _SLOT_MASK]
        x = frequency * (x >> PROBABILITY_BITS) + offset
        if x < _LOW:
            if at + 2 > len(data):
                raise MessageError("the message is cut short inside a section")
            x = x << 16 | int.from_bytes(data[at : at + 2], "little")
            at += 2
        states[place % _LANES] = x
        symbols.append(symbol)
        if mean is not None and place % _LANES == _LANES - 1:
            mean.update(symbols[-_LANES:])
    if states != [_LOW] * _LANES:
        raise damaged
    return np.array(symbols, dtype=np.uint8), at
