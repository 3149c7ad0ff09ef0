"""Index coders: a support <-> bytes. Registered by number; docs/wire-format.md defines what each writes."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors import bitmap
from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.kernels import BYTES, Mode
from fedcomloc_mpi.wire import bits, integers
from fedcomloc_mpi.wire.marks import Marks, mark, read_start, support_of
from fedcomloc_mpi.wire.proposal import Proposal
from fedcomloc_mpi.wire.reference import Reference
from fedcomloc_mpi.wire.support import Support


@dataclass(eq=False)
class IndexTask:
    """A support to write, what the receiver knows, and what several coders need of both, made when first asked for."""

    support: Support
    reference: Reference | None

    @cached_property
    def marks(self) -> Marks:
        """The marks against whatever makes them fewest."""
        return mark(self.support, self.reference)


class IndexCoder(Protocol):
    """One way to write a support. `compiled_only`: whether it is offered only where the kernels are compiled."""

    number: int
    name: str
    compiled_only: bool

    def propose(self, task: IndexTask) -> Proposal | None:
        """Offer to write the task's support; None if this coder cannot."""
        ...

    def decode(self, section: np.ndarray, size: int, count: int, reference: Reference | None) -> Support:
        """Return the support of `count` of `size` entries (0 <= count <= size, checked) that `section` holds.

        `section` is untrusted uint8 of any length; `reference` is None unless the message has one. Raises MessageError,
        and allocates no more than O(size).
        """
        ...


def check_length(section: np.ndarray, expected: int, what: str) -> None:
    """Raise MessageError unless `section` has `expected` bytes."""
    if section.size != expected:
        raise MessageError(f"the message is damaged: {what} takes {expected} bytes, not {section.size}")


class Dense:
    """Every entry; nothing is written."""

    number = 0
    name = "dense"
    compiled_only = False

    def propose(self, task: IndexTask) -> Proposal | None:
        return Proposal(0, lambda: np.empty(0, dtype=np.uint8)) if task.support.complete else None

    def decode(self, section: np.ndarray, size: int, count: int, reference: Reference | None) -> Support:
        if count != size:
            raise MessageError(f"the message is damaged: dense, but {count} of {size} entries")
        check_length(section, 0, "a dense support")
        return Support(size, size)


class FixedWidth:
    """The indices in ascending order, each in as many bits as the largest possible one needs."""

    number = 1
    name = "fixed"
    compiled_only = False

    def propose(self, task: IndexTask) -> Proposal | None:
        support, width = task.support, _index_width(task.support.size)

        def write() -> np.ndarray:
            gaps = kernels.gaps(support.mask, support.size, support.count)
            return kernels.pack(kernels.positions(gaps), width)

        return Proposal(bits.packed_size(support.count, width), write)

    def decode(self, section: np.ndarray, size: int, count: int, reference: Reference | None) -> Support:
        width = _index_width(size)
        check_length(section, bits.packed_size(count, width), f"{count} indices of {width} bits")
        if not bits.padding_is_clear(section, width, count):
            raise MessageError("the message is damaged: padding after its indices is not 0")
        try:
            gaps = kernels.gaps_of_positions(kernels.unpack(section, count, width), size)
        except MessageError:
            raise MessageError(
                f"the message is damaged: its indices are not ascending below {size}"
            ) from None
        return Support(size, count, None if count == size else _mask_of(gaps, size))


def _index_width(size: int) -> int:
    """Return the bits of the largest index of `size` entries; 0 for at most one entry."""
    return max(size - 1, 0).bit_length()


class Bitmap:
    """One bit an entry."""

    number = 2
    name = "bitmap"
    compiled_only = False

    def propose(self, task: IndexTask) -> Proposal | None:
        return Proposal(bitmap.byte_count(task.support.size), lambda: task.support.mask)

    def decode(self, section: np.ndarray, size: int, count: int, reference: Reference | None) -> Support:
        check_length(section, bitmap.byte_count(size), f"a bitmap of {size} entries")
        if not bitmap.padding_is_clear(section, size):
            raise MessageError("the message is damaged: padding after its bitmap is not 0")
        found = bitmap.count(section)
        if found != count:
            raise MessageError(f"the message is damaged: its bitmap holds {found} entries, not {count}")
        return Support(size, count, mask=None if count == size else section)


class Rice:
    """Gaps of the marks in a Rice code: after the marks' start, its parameter (u8, 0 to 31), then two planes."""

    number = 3
    name = "rice"
    compiled_only = False

    def propose(self, task: IndexTask) -> Proposal | None:
        if task.support.complete:
            return None
        marks = task.marks
        gaps = marks.gaps
        # The best parameter is near log2 of the mean gap.
        near = max((marks.size - marks.count) // max(marks.count, 1), 1).bit_length() - 1
        shift, body = kernels.rice_parameter(gaps, max(near - 1, 0), near + 1)

        def write() -> np.ndarray:
            start = np.frombuffer(marks.start + bytes([shift]), dtype=np.uint8)
            return np.concatenate((start, kernels.rice_encode(gaps, shift)))

        return Proposal(len(marks.start) + 1 + body, write, marks.uses_reference)

    def decode(self, section: np.ndarray, size: int, count: int, reference: Reference | None) -> Support:
        start = read_start(section, size, count, reference)
        body = section[start.length :]
        if not body.size or body[0] > 31:
            raise MessageError("the message is damaged: its Rice parameter is missing or not 0 to 31")
        gaps, read = kernels.rice_decode(body[1:], start.count, int(body[0]))
        check_length(body, 1 + read, f"{start.count} marks in a Rice code")
        return support_of(start, gaps, size, count, reference)


class GapTokens:
    """Gaps of the marks as integers in the entropy coder, after the marks' start."""

    number = 4
    name = "tokens"
    compiled_only = True
    _mantissa = 2
    # Below this many marks tables for several contexts cost more than they save.
    _adaptive_from = 1000

    def propose(self, task: IndexTask) -> Proposal | None:
        if task.support.complete:
            return None
        marks = task.marks
        modes = (Mode.SINGLE, Mode.ADAPTIVE) if marks.count >= self._adaptive_from else (Mode.SINGLE,)
        plan = integers.plan(marks.gaps, self._mantissa, modes, universe=marks.size)

        def write() -> np.ndarray:
            return np.concatenate((np.frombuffer(marks.start, dtype=np.uint8), plan.encode()))

        return Proposal(len(marks.start) + plan.size, write, marks.uses_reference)

    def decode(self, section: np.ndarray, size: int, count: int, reference: Reference | None) -> Support:
        start = read_start(section, size, count, reference)
        gaps = integers.decode(section[start.length :], start.count, universe=size)
        return support_of(start, gaps, size, count, reference)


class BitmapBytes:
    """The bytes of the marks' bitmap in the entropy coder, after the marks' start."""

    number = 5
    name = "bitmap-bytes"
    compiled_only = True

    def propose(self, task: IndexTask) -> Proposal | None:
        marks = task.marks
        # Sparser marks are smaller as gaps, and the bitmap's bytes take longer to code.
        if task.support.complete or 16 * marks.count < marks.size:
            return None
        plan = kernels.plan_symbols(marks.mask, BYTES, Mode.SINGLE)

        def write() -> np.ndarray:
            return np.concatenate((np.frombuffer(marks.start, dtype=np.uint8), plan.encode()))

        return Proposal(len(marks.start) + plan.size, write, marks.uses_reference)

    def decode(self, section: np.ndarray, size: int, count: int, reference: Reference | None) -> Support:
        start = read_start(section, size, count, reference)
        body, wanted = section[start.length :], bitmap.byte_count(size)
        if not wanted:
            raise MessageError("the message is damaged: the bitmap of an empty vector")
        mask, read = kernels.decode_symbols(body, wanted, BYTES)
        check_length(body, read, f"a coded bitmap of {size} entries")
        if not bitmap.padding_is_clear(mask, size) or kernels.popcount(mask) != start.count:
            raise MessageError(f"the message is damaged: its bitmap does not hold {start.count} marks")
        return start.support(mask, size, count, reference)


def _mask_of(gaps: np.ndarray, size: int) -> np.ndarray:
    """Return the bitmap of untrusted gaps. Raises MessageError."""
    mask = np.zeros(bitmap.byte_count(size), dtype=np.uint8)
    kernels.flip(gaps, mask, size)
    return mask


INDEX_CODERS: dict[int, IndexCoder] = {
    coder.number: coder for coder in (Dense(), FixedWidth(), Bitmap(), Rice(), GapTokens(), BitmapBytes())
}
