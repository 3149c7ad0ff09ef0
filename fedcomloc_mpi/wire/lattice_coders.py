"""Value coders of quantization levels on the shared lattice."""

from dataclasses import replace

import numpy as np

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors.compressed import Levels
from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.wire import bits as packed_bits
from fedcomloc_mpi.wire.index_coders import check_length
from fedcomloc_mpi.wire.level_sections import (
    NO_LEVELS,
    apply_differences,
    check_level_bits,
    plan_differences,
    read_rounding,
    read_scales,
    rounding_bytes,
    scale_bytes,
    valued,
)
from fedcomloc_mpi.wire.proposal import Proposal
from fedcomloc_mpi.wire.value_coder import EntryValues, Place


class LatticeLevels:
    """Levels on the shared lattice, against those of the reference on it, in the entropy coder.

    The section: the lattice's divisor (u32); float32 steps of the layers in which the reference has no nonzero entry;
    how levels were rounded (u8, u64 key); then the integers.
    """

    number = 6
    name = "lattice-differences"
    uses_reference = True
    compiled_only = True

    def propose(self, values: EntryValues, place: Place) -> Proposal | None:
        start = _lattice_start(values.levels, place)
        if start is None or values.levels is None:
            return None
        plan = plan_differences(values.levels, place)
        return Proposal(start.size + plan.size, lambda: np.concatenate((start, plan.encode())), True)

    def decode(self, section: np.ndarray, place: Place, bits: int) -> EntryValues:
        unread, body = _read_lattice_start(section, place, bits)
        return apply_differences(body, unread, place)


class PackedLatticeLevels:
    """Levels on the shared lattice as they are: the start as above; u8, a width of 0 to 32 bits; the zigzag codes."""

    number = 7
    name = "lattice-levels"
    uses_reference = True
    compiled_only = False

    def propose(self, values: EntryValues, place: Place) -> Proposal | None:
        start = _lattice_start(values.levels, place)
        if start is None or values.levels is None:
            return None
        zigzag = kernels.level_differences(values.levels.levels, None)
        width = int(zigzag.max(initial=0)).bit_length()

        def write() -> np.ndarray:
            return np.concatenate((start, np.array([width], dtype=np.uint8), kernels.pack(zigzag, width)))

        return Proposal(start.size + 1 + packed_bits.packed_size(zigzag.size, width), write, True)

    def decode(self, section: np.ndarray, place: Place, bits: int) -> EntryValues:
        unread, body = _read_lattice_start(section, place, bits)
        width, count = int(body[0]) if body.size else 33, place.support.count
        if width > 32:
            raise MessageError("the message is damaged: the width of its levels is missing or not 0 to 32")
        check_length(body, 1 + packed_bits.packed_size(count, width), f"{count} levels of {width} bits")
        zigzag = kernels.unpack(body[1:], count, width)
        levels = kernels.apply_level_differences(zigzag, None, unread.limit)
        return valued(replace(unread, levels=levels), place)


def _lattice_start(levels: Levels | None, place: Place) -> np.ndarray | None:
    """Return the start, uint8, of a section of levels on the lattice; None if these are not on the reference's."""
    if levels is None or not levels.lattice or place.reference is None:
        return None
    shared = place.reference.lattice_steps(levels.bits)
    own = shared == 0
    if not np.array_equal(levels.scales[~own], shared[~own]):
        return None
    divisor = np.array([levels.lattice], dtype="<u4").view(np.uint8)
    return np.concatenate((divisor, scale_bytes(levels.scales[own]), rounding_bytes(levels.key)))


def _read_lattice_start(section: np.ndarray, place: Place, bits: int) -> tuple[Levels, np.ndarray]:
    """Return (levels that lack only the levels; what follows) of untrusted bytes. Raises MessageError."""
    assert place.reference is not None
    if section.size < 4:
        raise MessageError("the message is cut short inside its values")
    divisor = int.from_bytes(section[:4].tobytes(), "little")
    if not 1 <= divisor < 1 << 31:
        raise MessageError(f"the message is damaged: levels of {divisor} averaged vectors")
    check_level_bits(bits)
    scales = place.reference.lattice_steps(bits)
    own = scales == 0
    scales[own], body = read_scales(section[4:], int(own.sum()), bits)
    key, body = read_rounding(body)
    return Levels(NO_LEVELS, scales, bits, divisor, key), body
