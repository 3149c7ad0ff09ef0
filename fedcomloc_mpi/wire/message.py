"""Messages: a compressed vector <-> bytes.

`encode` writes the smallest message that the registered coders can make; `decode`, `decode_into` and `decode_add` read
untrusted bytes: anything wrong raises MessageError before a result is touched.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from fedcomloc_mpi.compressors import bitmap
from fedcomloc_mpi.compressors.compressed import Compressed, Levels
from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import header as headers
from fedcomloc_mpi.wire.header import Header
from fedcomloc_mpi.wire.index_coders import INDEX_CODERS, IndexCoder
from fedcomloc_mpi.wire.reference import Reference
from fedcomloc_mpi.wire.support import Support
from fedcomloc_mpi.wire.value_coders import FLOAT_BITS, VALUE_CODERS, EntryValues, ValueCoder

Buffer = bytes | bytearray | memoryview | np.ndarray


@dataclass(frozen=True, eq=False)
class Encoded:
    """A message: `data`, uint8 [n], contiguous and its own; the names of the coders that wrote it.

    self_contained: whether it can be decoded without a reference.
    """

    data: np.ndarray
    index_coder: str
    value_coder: str
    self_contained: bool


@dataclass(frozen=True, eq=False)
class _Plan:
    """One way to write a vector: what is carried, by which coders, at what size in bytes without the header."""

    flags: int
    support: Support
    values: EntryValues
    index_coder: IndexCoder
    index_bytes: int
    value_coder: ValueCoder
    value_bytes: int


def coder_names() -> tuple[str, ...]:
    """Return the names of all index coders, then of all value coders, each in the order of their numbers."""
    return (
        *(INDEX_CODERS[number].name for number in sorted(INDEX_CODERS)),
        *(VALUE_CODERS[number].name for number in sorted(VALUE_CODERS)),
    )


def encode(compressed: Compressed, reference: Reference | None = None) -> Encoded:
    """Write `compressed` (float32) in the smallest way; of equal ones the coder of the lower number is taken.

    With a `reference` coders that need one compete too; the message is coded against it only if one of them wins.
    Raises ValueError on float64 values, on counts that contradict each other and on more than `header.MAX_SIZE`
    entries.
    """
    _check(compressed, reference)
    plans = [_plan(flags, *carried, reference) for flags, carried in _variants(compressed)]
    plan = min(plans, key=lambda plan: plan.index_bytes + plan.value_bytes)
    uses_reference = plan.index_coder.uses_reference or plan.value_coder.uses_reference
    layout, levels = compressed.layout, plan.values.levels
    header = Header(
        flags=plan.flags | (headers.FLAG_REFERENCE if uses_reference else 0),
        index_coder=plan.index_coder.number,
        value_coder=plan.value_coder.number,
        bits=FLOAT_BITS if levels is None else levels.bits,
        layers=len(layout.sizes),
        size=layout.size,
        count=plan.support.count,
        value_bytes=plan.value_bytes,
        index_bytes=plan.index_bytes,
        fingerprint=reference.fingerprint if reference is not None and uses_reference else None,
    )
    data = np.empty(header.message_bytes, dtype=np.uint8)
    indices_at = header.length + header.value_bytes
    plan.value_coder.encode(plan.values, plan.support, reference, data[header.length : indices_at])
    plan.index_coder.encode(plan.support, reference, data[indices_at:])
    headers.write(header, data)
    return Encoded(data, plan.index_coder.name, plan.value_coder.name, not uses_reference)


def _check(compressed: Compressed, reference: Reference | None) -> None:
    """Raise ValueError on a `compressed` that cannot be written."""
    layout, mask, count = compressed.layout, compressed.mask, compressed.count
    if layout.size > headers.MAX_SIZE:
        raise ValueError(f"a message holds at most {headers.MAX_SIZE} entries, not {layout.size}")
    if compressed.values.dtype != np.float32 or compressed.values.shape != (count,):
        raise ValueError(
            f"{count} float32 values are needed, not {compressed.values.dtype} {compressed.values.shape}"
        )
    if (mask is None and count != layout.size) or (
        mask is not None and mask.shape != (bitmap.byte_count(layout.size),)
    ):
        raise ValueError(f"the mask does not belong to {count} of {layout.size} entries")
    if reference is not None and reference.layout != layout:
        raise ValueError("the reference belongs to another layout than the vector")


def _variants(compressed: Compressed) -> Iterable[tuple[int, tuple[Support, EntryValues]]]:
    """Yield what may be carried: the kept entries, or of a vector without a mask only those that are not +0.

    Yields pairs of header flags and (support, values).
    """
    size, values, levels = compressed.layout.size, compressed.values, compressed.levels
    support = Support(size, compressed.count, compressed.mask, compressed.known_indices)
    yield 0, (support, EntryValues(values, levels))
    if compressed.mask is not None:
        return
    # Compared as bits, or as levels: -0 is a value of its own, a level of 0 is +0 again.
    nonzero = (values.view(np.uint32) if levels is None else levels.levels) != 0
    count = int(np.count_nonzero(nonzero))
    # To say which entries are left out takes a bit for every entry, and each of them saves `bits`.
    if (size - count) * (FLOAT_BITS if levels is None else levels.bits + 1) <= size:
        return
    mask = bitmap.pack(nonzero)
    indices = np.flatnonzero(nonzero)
    rest = None if levels is None else Levels(levels.levels.take(indices), levels.scales, levels.bits)
    yield (
        headers.FLAG_ZEROS_LEFT_OUT,
        (Support(size, count, mask, indices), EntryValues(values.take(indices), rest)),
    )


def _plan(flags: int, support: Support, values: EntryValues, reference: Reference | None) -> _Plan:
    """Choose the smallest index coder and the smallest value coder."""
    index_bytes, index_coder = min(
        (size, number)
        for number, coder in INDEX_CODERS.items()
        if (reference is not None or not coder.uses_reference)
        and (size := coder.size(support, reference)) is not None
    )
    value_bytes, value_coder = min(
        (size, number)
        for number, coder in VALUE_CODERS.items()
        if (reference is not None or not coder.uses_reference)
        and (size := coder.size(values, support, reference)) is not None
    )
    return _Plan(
        flags, support, values, INDEX_CODERS[index_coder], index_bytes, VALUE_CODERS[value_coder], value_bytes
    )


def decode(buffer: Buffer, layout: Layout, reference: Reference | None = None) -> Compressed:
    """Return the vector of `layout` that `buffer`, untrusted, holds; nothing in it refers to `buffer`.

    `reference` is needed for, and compared with, messages that were coded against one. Raises MessageError.
    """
    header, support, entries = _open(buffer, layout, reference)
    size, levels = layout.size, entries.levels
    if header.zeros_left_out and not support.complete:
        values = np.zeros(size, dtype=np.float32)
        values[support.indices] = entries.values
        if levels is not None:
            every_level = np.zeros(size, dtype=np.int32)
            every_level[support.indices] = levels.levels
            levels = Levels(every_level, levels.scales, levels.bits)
        return Compressed(layout, None, size, values, levels)
    values = entries.values.copy() if levels is None else entries.values
    if support.complete:
        return Compressed(layout, None, size, values, levels)
    return Compressed(layout, support.mask.copy(), support.count, values, levels)


def decode_into(buffer: Buffer, layout: Layout, reference: Reference | None, out: np.ndarray) -> None:
    """Write the vector that `buffer` holds into `out`, float32 or float64 [d]. Raises MessageError, as `decode`."""
    _check_result(out, layout)
    _, support, entries = _open(buffer, layout, reference)
    if support.complete:
        out[:] = entries.values
    else:
        out.fill(0)
        out[support.indices] = entries.values


def decode_add(
    buffer: Buffer, layout: Layout, reference: Reference | None, accumulator: np.ndarray, weight: float = 1.0
) -> None:
    """Add `weight` times the vector that `buffer` holds to `accumulator`, float64 [d].

    Entries that the message does not carry are not touched. Products and sums are float64, so that with weight 1 the
    values are added exactly as they are. Raises MessageError, as `decode`, with the accumulator unchanged.
    """
    _check_result(accumulator, layout)
    _, support, entries = _open(buffer, layout, reference)
    values = entries.values if weight == 1.0 else entries.values.astype(np.float64) * weight
    if support.complete:
        accumulator += values
    else:
        accumulator[support.indices] += values


def _check_result(out: np.ndarray, layout: Layout) -> None:
    if out.shape != (layout.size,):
        raise ValueError(f"a result of shape ({layout.size},) is needed, not {out.shape}")


def _open(buffer: Buffer, layout: Layout, reference: Reference | None) -> tuple[Header, Support, EntryValues]:
    """Return the checked header, support and values of `buffer`; the latter two may be views of it."""
    message = np.frombuffer(buffer, dtype=np.uint8) if len(buffer) else np.empty(0, dtype=np.uint8)
    header = headers.read(message, layout)
    index_coder = INDEX_CODERS.get(header.index_coder)
    if index_coder is None:
        raise MessageError(
            f"the message's index coder {header.index_coder} is unknown; known are {_known(INDEX_CODERS)}"
        )
    value_coder = VALUE_CODERS.get(header.value_coder)
    if value_coder is None:
        raise MessageError(
            f"the message's value coder {header.value_coder} is unknown; known are {_known(VALUE_CODERS)}"
        )
    if (index_coder.uses_reference or value_coder.uses_reference) != (header.fingerprint is not None):
        raise MessageError(
            f"the message is damaged: its coders {index_coder.name} and {value_coder.name} contradict its flags"
        )
    if header.fingerprint is not None:
        if reference is None:
            raise MessageError("the message was coded against a reference, and there is none here")
        if reference.fingerprint != header.fingerprint:
            raise MessageError(
                f"the message was coded against reference {header.fingerprint:016x}, "
                f"and the one here is {reference.fingerprint:016x}"
            )
    values_at, indices_at = header.length, header.length + header.value_bytes
    support = index_coder.decode(message[indices_at:], header.size, header.count, reference)
    entries = value_coder.decode(message[values_at:indices_at], support, layout, header.bits, reference)
    return header, support, entries


def _known(coders: Mapping[int, IndexCoder | ValueCoder]) -> str:
    return ", ".join(f"{number} ({coders[number].name})" for number in sorted(coders))
