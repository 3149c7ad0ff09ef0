"""Messages: a compressed vector <-> bytes.

`encode` writes the smallest message that the registered coders can make; `decode`, `decode_into` and `decode_add` read
untrusted bytes: anything wrong raises MessageError before a result is touched.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors import bitmap
from fedcomloc_mpi.compressors.compressed import Compressed
from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import at_once
from fedcomloc_mpi.wire import header as headers
from fedcomloc_mpi.wire.coders import available, index_coders, value_coders
from fedcomloc_mpi.wire.header import Header
from fedcomloc_mpi.wire.index_coders import INDEX_CODERS, IndexCoder, IndexTask
from fedcomloc_mpi.wire.proposal import Proposal
from fedcomloc_mpi.wire.reference import Reference
from fedcomloc_mpi.wire.support import Support
from fedcomloc_mpi.wire.value_coder import FLOAT_BITS, EntryValues, Place, ValueCoder
from fedcomloc_mpi.wire.value_coders import VALUE_CODERS

Coder = TypeVar("Coder", IndexCoder, ValueCoder)
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


# Vectors shorter than this are written in every way.
_TRY_BOTH = 4096
# Values coded against the reference in so many tenths of their raw size are not tried without it: nothing comes close.
_FAR_BELOW = 7


@dataclass(eq=False)
class _Plan:
    """One way to write a vector: what is carried, and the winning coders' proposals."""

    flags: int
    count: int
    bits: int
    index_coder: IndexCoder
    index: Proposal
    value_coder: ValueCoder
    value: Proposal

    @property
    def size(self) -> int:
        """Bytes of both sections."""
        return self.index.size + self.value.size

    @property
    def uses_reference(self) -> bool:
        return self.index.uses_reference or self.value.uses_reference


def encode(compressed: Compressed, reference: Reference | None = None, coders: int | None = None) -> Encoded:
    """Write `compressed` (float32) in the smallest way; of equal ones the coder of the lower number is taken.

    With a `reference` coders that need one compete too; the message is coded against it only if one of them wins.
    `coders`: the set to choose from (`coders.available`; None: that of this machine).
    Raises ValueError on float64 values, on counts that contradict each other and on more than `header.MAX_SIZE`
    entries.
    """
    _check(compressed, reference)
    allowed = available() if coders is None else coders
    variants = list(_variants(compressed))
    if len(variants) == 1 and reference is not None:
        written = at_once.encode(*variants[0], reference, allowed)
        if written is not None:
            return Encoded(*written, self_contained=False)
    plans = [_plan(*each, reference, allowed) for each in variants]
    plan = min((each for each in plans if each is not None), key=lambda plan: plan.size, default=None)
    if plan is None:
        raise ValueError("none of the coders can write this vector; levels on a lattice need the reference")
    values, indices = plan.value.write(), plan.index.write()
    header = Header(
        flags=plan.flags | (headers.FLAG_REFERENCE if plan.uses_reference else 0),
        index_coder=plan.index_coder.number,
        value_coder=plan.value_coder.number,
        bits=plan.bits,
        layers=len(compressed.layout.sizes),
        size=compressed.layout.size,
        count=plan.count,
        value_bytes=values.size,
        index_bytes=indices.size,
        fingerprint=reference.fingerprint if reference is not None and plan.uses_reference else None,
    )
    data = np.empty(header.message_bytes, dtype=np.uint8)
    indices_at = header.length + header.value_bytes
    data[header.length : indices_at] = values
    data[indices_at:] = indices
    headers.write(header, data)
    return Encoded(data, plan.index_coder.name, plan.value_coder.name, not plan.uses_reference)


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


def _variants(compressed: Compressed) -> Iterable[tuple[Layout, int, Support, EntryValues]]:
    """Yield what may be carried: the kept entries, or of a vector without a mask only those that are not +0.

    Yields the layout, header flags, the support, and the values.
    """
    layout, values, levels = compressed.layout, compressed.values, compressed.levels
    size = layout.size
    complete = Support(size, compressed.count, compressed.mask, compressed.known_indices)
    if compressed.mask is not None:
        yield layout, 0, complete, EntryValues(values, levels)
        return
    # Compared as bits, or as levels: -0 is a value of its own, a level of 0 is +0 again.
    mask = compressed.nonzero_mask
    count = kernels.popcount(mask)
    # Where few entries of a long vector are +0, or many, only one of the two ways is worth the time of trying.
    zeros = size - count
    if size < _TRY_BOTH or 4 * zeros < size:
        yield layout, 0, complete, EntryValues(values, levels)
    if not zeros or (size >= _TRY_BOTH and 64 * zeros < size):
        return
    rest = None
    if levels is not None:
        kept = kernels.gather(levels.levels.view(np.float32), mask, count).view(np.int32)
        rest = replace(levels, levels=kept)
    yield (
        layout,
        headers.FLAG_ZEROS_LEFT_OUT,
        Support(size, count, mask),
        EntryValues(compressed.nonzero_values, rest),
    )


def _plan(
    layout: Layout,
    flags: int,
    support: Support,
    values: EntryValues,
    reference: Reference | None,
    coders: int,
) -> _Plan | None:
    """Choose the smallest index coder and the smallest value coder; None if no coder can write one of the two."""
    task, place = IndexTask(support, reference), Place(layout, support, reference)
    indices = _smallest((coder, coder.propose(task)) for coder in index_coders(coders))
    asked = value_coders(coders)
    against = [coder for coder in asked if coder.uses_reference] if reference is not None else []
    entries = _smallest((coder, coder.propose(values, place)) for coder in against)
    if entries is None or 80 * entries[1].size > _FAR_BELOW * support.count * _raw_bits(values):
        alone = _smallest(
            (coder, coder.propose(values, place)) for coder in asked if not coder.uses_reference
        )
        entries = min(
            (each for each in (alone, entries) if each), key=lambda each: each[1].size, default=None
        )
    bits = FLOAT_BITS if values.levels is None else values.levels.bits
    if indices is None or entries is None:
        return None
    return _Plan(flags, support.count, bits, *indices, *entries)


def _raw_bits(values: EntryValues) -> int:
    """Return the bits of a value that is not coded."""
    return FLOAT_BITS if values.levels is None else values.levels.bits + 1


def _smallest(offers: Iterable[tuple[Coder, Proposal | None]]) -> tuple[Coder, Proposal] | None:
    """Return the coder with the smallest proposal, of equal ones that of the lower number; None if none made one."""
    made = [(coder, proposal) for coder, proposal in offers if proposal is not None]
    return min(made, key=lambda offer: offer[1].size, default=None)


def coders_of(message: np.ndarray) -> tuple[str, str]:
    """Return the names of the index coder and the value coder of a message that `decode` accepts."""
    index, value = headers.coder_numbers(message)
    return INDEX_CODERS[index].name, VALUE_CODERS[value].name


def decode(buffer: Buffer, layout: Layout, reference: Reference | None = None) -> Compressed:
    """Return the vector of `layout` that `buffer`, untrusted, holds; nothing in it refers to `buffer`.

    `reference` is needed for, and compared with, messages that were coded against one. Raises MessageError.
    """
    header, support, entries = _open(buffer, layout, reference)
    size, levels = layout.size, entries.levels
    if header.zeros_left_out and not support.complete:
        values = np.empty(size, dtype=np.float32)
        kernels.scatter(entries.values, support.mask, values)
        if levels is not None:
            every_level = np.zeros(size, dtype=np.int32)
            every_level[support.indices] = levels.levels
            levels = replace(levels, levels=every_level)
        return Compressed(layout, None, size, values, levels)
    values = _kept(entries.values)
    if support.complete:
        return Compressed(layout, None, size, values, levels)
    return Compressed(layout, _kept(support.mask), support.count, values, levels)


def decode_into(buffer: Buffer, layout: Layout, reference: Reference | None, out: np.ndarray) -> None:
    """Write the vector that `buffer` holds into `out`, float32 [d], contiguous. Raises MessageError, as `decode`."""
    _check_result(out, layout)
    _, support, entries = _open(buffer, layout, reference)
    if support.complete:
        out[:] = entries.values
    else:
        kernels.scatter(entries.values, support.mask, out)


def decode_reference(
    buffer: Buffer, layout: Layout, reference: Reference | None, out: np.ndarray
) -> Reference:
    """Write the vector that `buffer` holds into `out`, as `decode_into`; return it as a Reference for what follows.

    `out` is kept, not copied. What the message tells of the vector need not be computed again.
    """
    _check_result(out, layout)
    _, support, entries = _open(buffer, layout, reference)
    if support.complete:
        out[:] = entries.values
        return Reference(out, layout, before=reference)
    kernels.scatter(entries.values, support.mask, out)
    if (entries.values.view(np.uint32) == 0).any():
        return Reference(out, layout, before=reference)
    return Reference(out, layout, (_kept(support.mask), _kept(entries.values)), reference)


def _kept(array: np.ndarray) -> np.ndarray:
    """Return `array`, or a copy where it is a view of the message."""
    return array if array.base is None else array.copy()


def decode_add(
    buffer: Buffer, layout: Layout, reference: Reference | None, accumulator: np.ndarray, weight: float = 1.0
) -> None:
    """Add `weight` times the vector that `buffer` holds to `accumulator`, float64 [d].

    Entries that the message does not carry are not touched. Products and sums are float64, so that with weight 1 the
    values are added exactly as they are. Raises MessageError, as `decode`, with the accumulator unchanged.
    """
    _check_result(accumulator, layout)
    message, header, known = _checked(buffer, layout, reference)
    if known is not None and at_once.add(header, message, known, weight, accumulator):
        return
    support, entries = _sections(message, header, layout, known)
    kernels.accumulate(entries.values, None if support.complete else support.mask, weight, accumulator)


def _check_result(out: np.ndarray, layout: Layout) -> None:
    if out.shape != (layout.size,):
        raise ValueError(f"a result of shape ({layout.size},) is needed, not {out.shape}")


def _open(buffer: Buffer, layout: Layout, reference: Reference | None) -> tuple[Header, Support, EntryValues]:
    """Return the checked header, support and values of `buffer`; the latter two may be views of it."""
    message, header, known = _checked(buffer, layout, reference)
    if known is not None:
        found = at_once.decode(header, message, known)
        if found is not None:
            return header, *found
    return header, *_sections(message, header, layout, known)


def _checked(
    buffer: Buffer, layout: Layout, reference: Reference | None
) -> tuple[np.ndarray, Header, Reference | None]:
    """Return a message, its checked header, and the reference that it was coded against, None if none."""
    message = np.frombuffer(buffer, dtype=np.uint8) if len(buffer) else np.empty(0, dtype=np.uint8)
    header = headers.read(message, layout)
    if header.index_coder not in INDEX_CODERS:
        raise MessageError(
            f"the message's index coder {header.index_coder} is unknown; known are {_known(INDEX_CODERS)}"
        )
    value_coder = VALUE_CODERS.get(header.value_coder)
    if value_coder is None:
        raise MessageError(
            f"the message's value coder {header.value_coder} is unknown; known are {_known(VALUE_CODERS)}"
        )
    if value_coder.uses_reference and header.fingerprint is None:
        raise MessageError(
            f"the message is damaged: its values are {value_coder.name}, and its flags deny a reference"
        )
    if header.fingerprint is not None:
        if reference is None:
            raise MessageError("the message was coded against a reference, and there is none here")
        if reference.fingerprint != header.fingerprint:
            raise MessageError(
                f"the message was coded against reference {header.fingerprint:016x}, "
                f"and the one here is {reference.fingerprint:016x}"
            )
    # Coders see a reference only where the message says that it has one.
    return message, header, reference if header.fingerprint is not None else None


def _sections(
    message: np.ndarray, header: Header, layout: Layout, known: Reference | None
) -> tuple[Support, EntryValues]:
    """Return what the coders that the checked header names read in the two sections."""
    indices_at = header.length + header.value_bytes
    index_coder, value_coder = INDEX_CODERS[header.index_coder], VALUE_CODERS[header.value_coder]
    support = index_coder.decode(message[indices_at:], header.size, header.count, known)
    section = message[header.length : indices_at]
    return support, value_coder.decode(section, Place(layout, support, known), header.bits)


def _known(coders: Mapping[int, IndexCoder | ValueCoder]) -> str:
    return ", ".join(f"{number} ({coders[number].name})" for number in sorted(coders))
