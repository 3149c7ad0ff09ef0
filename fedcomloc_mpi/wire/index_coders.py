"""Index coders: a support <-> bytes. Registered by number; docs/wire-format.md defines what each writes."""

from typing import Protocol

import numpy as np

from fedcomloc_mpi.compressors import bitmap
from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.wire import bits
from fedcomloc_mpi.wire.reference import Reference
from fedcomloc_mpi.wire.support import Support


class IndexCoder(Protocol):
    """One way to write a support.

    A coder that `uses_reference` is asked for a message only where there is one, and then gets it in all three calls.
    """

    number: int
    name: str
    uses_reference: bool

    def size(self, support: Support, reference: Reference | None) -> int | None:
        """Return the exact size in bytes of the section that `encode` writes; None if it cannot write this support."""
        ...

    def encode(self, support: Support, reference: Reference | None, section: np.ndarray) -> None:
        """Write `support` into `section`, uint8 of exactly `size` bytes."""
        ...

    def decode(self, section: np.ndarray, size: int, count: int, reference: Reference | None) -> Support:
        """Return the support of `count` of `size` entries (0 <= count <= size, checked) that `section` holds.

        `section` is untrusted uint8 of any length. Raises MessageError, and allocates no more than O(size).
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
    uses_reference = False

    def size(self, support: Support, reference: Reference | None) -> int | None:
        return 0 if support.complete else None

    def encode(self, support: Support, reference: Reference | None, section: np.ndarray) -> None:
        pass

    def decode(self, section: np.ndarray, size: int, count: int, reference: Reference | None) -> Support:
        if count != size:
            raise MessageError(f"the message is damaged: dense, but {count} of {size} entries")
        check_length(section, 0, "a dense support")
        return Support(size, size)


class FixedWidth:
    """The indices in ascending order, each in as many bits as the largest possible one needs."""

    number = 1
    name = "fixed"
    uses_reference = False

    def size(self, support: Support, reference: Reference | None) -> int | None:
        return bits.packed_size(support.count, _index_width(support.size))

    def encode(self, support: Support, reference: Reference | None, section: np.ndarray) -> None:
        bits.pack(support.indices, _index_width(support.size), section)

    def decode(self, section: np.ndarray, size: int, count: int, reference: Reference | None) -> Support:
        width = _index_width(size)
        check_length(section, bits.packed_size(count, width), f"{count} indices of {width} bits")
        if count == size:
            # All of them: they can be only 0 to size - 1.
            expected = np.zeros_like(section)
            bits.pack(np.arange(size), width, expected)
            if not np.array_equal(section, expected):
                raise MessageError("the message is damaged: its indices are not ascending")
            return Support(size, count)
        indices = bits.unpack(section, width, count).astype(np.int64)
        if count and (indices[-1] >= size or not np.all(indices[1:] > indices[:-1])):
            raise MessageError(f"the message is damaged: its indices are not ascending below {size}")
        if not bits.padding_is_clear(section, width, count):
            raise MessageError("the message is damaged: padding after its indices is not 0")
        return Support(size, count, indices=indices)


def _index_width(size: int) -> int:
    """Return the bits of the largest index of `size` entries; 0 for at most one entry."""
    return max(size - 1, 0).bit_length()


class Bitmap:
    """One bit an entry."""

    number = 2
    name = "bitmap"
    uses_reference = False

    def size(self, support: Support, reference: Reference | None) -> int | None:
        return bitmap.byte_count(support.size)

    def encode(self, support: Support, reference: Reference | None, section: np.ndarray) -> None:
        section[:] = support.mask

    def decode(self, section: np.ndarray, size: int, count: int, reference: Reference | None) -> Support:
        check_length(section, bitmap.byte_count(size), f"a bitmap of {size} entries")
        if not bitmap.padding_is_clear(section, size):
            raise MessageError("the message is damaged: padding after its bitmap is not 0")
        found = bitmap.count(section)
        if found != count:
            raise MessageError(f"the message is damaged: its bitmap holds {found} entries, not {count}")
        return Support(size, count, mask=None if count == size else section)


INDEX_CODERS: dict[int, IndexCoder] = {coder.number: coder for coder in (Dense(), FixedWidth(), Bitmap())}
