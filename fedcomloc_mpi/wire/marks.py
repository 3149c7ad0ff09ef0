"""Marks: the few bits in which a support differs from one that the receiver knows.

A section of marks begins with a byte: bits 0 and 1 say what the support is compared with (0: nothing; 1: the
reference's TopK support of as many entries; 2: the reference's support), bit 2 that the clear bits are marked instead
of the set ones. Compared with a reference's support, the number of marks follows as u32; else it is the number of kept
entries, or of the others. All other bits are 0.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors import bitmap
from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.wire.reference import Reference
from fedcomloc_mpi.wire.support import Support

_INVERTED = 4


class Base(IntEnum):
    """What a support is compared with; the numbers are part of the format."""

    NOTHING = 0
    REFERENCE_TOPK = 1
    REFERENCE_SUPPORT = 2


@dataclass(eq=False)
class Marks:
    """`mask`: bitmap, uint8 [ceil(size / 8)], of the marks; `gaps`: uint32, as `kernels.gaps`.

    start: the bytes that a section of them begins with.
    """

    mask: np.ndarray
    size: int
    gaps: np.ndarray
    uses_reference: bool
    start: bytes

    @property
    def count(self) -> int:
        """How many there are."""
        return self.gaps.size


def mark(support: Support, reference: Reference | None) -> Marks:
    """Return the marks of `support` against whatever makes them fewest."""
    known: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
    if reference is not None:
        known = reference.topk_mask(support.count), reference.support_mask
    base, inverted, mask, gaps = kernels.mark(support.mask, support.size, *known)
    start = bytes([base | (_INVERTED if inverted else 0)])
    if base != Base.NOTHING:
        start += gaps.size.to_bytes(4, "little")
    return Marks(mask, support.size, gaps, base != Base.NOTHING, start)


def _known(base: Base, kept: int, reference: Reference) -> np.ndarray:
    return reference.topk_mask(kept) if base == Base.REFERENCE_TOPK else reference.support_mask


@dataclass(frozen=True, eq=False)
class MarksStart:
    """The start of an untrusted section: how many marks follow, and against what."""

    base: Base
    inverted: bool
    count: int
    length: int

    def support(self, mask: np.ndarray, size: int, kept: int, reference: Reference | None) -> Support:
        """Return the support that marks, bitmap `mask` (overwritten), make; MessageError if it has not `kept`."""
        if self.inverted:
            mask ^= bitmap.complete(size)
        if self.base != Base.NOTHING:
            assert reference is not None
            mask ^= _known(self.base, kept, reference)
        found = kernels.popcount(mask)
        if found != kept:
            raise MessageError(f"the message is damaged: its indices are {found} entries, not {kept}")
        return Support(size, kept, None if kept == size else mask)


def support_of(
    start: MarksStart, gaps: np.ndarray, size: int, kept: int, reference: Reference | None
) -> Support:
    """Return the support that untrusted gaps of marks make. Raises MessageError if it has not `kept` entries."""
    base, count = None, 0
    if start.base != Base.NOTHING:
        assert reference is not None
        base = _known(start.base, kept, reference)
        count = kept if start.base == Base.REFERENCE_TOPK else reference.values.size
    mask, found = kernels.unmark(gaps, base, count, start.inverted, size)
    if found != kept:
        raise MessageError(f"the message is damaged: its indices are {found} entries, not {kept}")
    return Support(size, kept, None if kept == size else mask)


def read_start(section: np.ndarray, size: int, kept: int, reference: Reference | None) -> MarksStart:
    """Return what untrusted uint8 begins with. Raises MessageError."""
    first = int(section[0]) if section.size else 0xFF
    inverted, base_number = bool(first & _INVERTED), first & 3
    if first & ~(_INVERTED | 3) or base_number > Base.REFERENCE_SUPPORT:
        raise MessageError("the message is damaged: its indices begin with an unknown byte")
    base = Base(base_number)
    if base == Base.NOTHING:
        return MarksStart(base, inverted, size - kept if inverted else kept, 1)
    if reference is None:
        raise MessageError("the message is damaged: its indices need a reference, and its flags deny it")
    if section.size < 5:
        raise MessageError("the message is cut short inside its indices")
    count = int.from_bytes(section[1:5].tobytes(), "little")
    if count > size:
        raise MessageError(f"the message is damaged: {count} marks among {size} entries")
    return MarksStart(base, inverted, count, 5)
