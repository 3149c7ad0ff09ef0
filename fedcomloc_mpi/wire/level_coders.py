"""Value coders of quantization levels whose scales are the quantized vector's own."""

import numpy as np

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors.compressed import Levels
from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.wire import bits as packed_bits
from fedcomloc_mpi.wire import integers
from fedcomloc_mpi.wire.index_coders import check_length
from fedcomloc_mpi.wire.level_sections import (
    LEVEL_MANTISSA,
    LEVEL_MODES,
    NO_LEVELS,
    apply_differences,
    plan_differences,
    read_rounding,
    read_scales,
    rounding_bytes,
    scale_bytes,
    valued,
)
from fedcomloc_mpi.wire.proposal import Proposal
from fedcomloc_mpi.wire.value_coder import EntryValues, Place


class PackedLevels:
    """A float32 scale for each layer, then the levels, zigzag-coded, in bits + 1 bits each."""

    number = 1
    name = "levels"
    uses_reference = False
    compiled_only = False

    def propose(self, values: EntryValues, place: Place) -> Proposal | None:
        levels = values.levels
        if levels is None or levels.lattice:
            return None
        width = levels.bits + 1

        def write() -> np.ndarray:
            zigzag = kernels.level_differences(levels.levels, None)
            return np.concatenate((scale_bytes(levels.scales), kernels.pack(zigzag, width)))

        return Proposal(4 * levels.scales.size + packed_bits.packed_size(levels.levels.size, width), write)

    def decode(self, section: np.ndarray, place: Place, bits: int) -> EntryValues:
        layers, count, width = len(place.layout.sizes), place.support.count, bits + 1
        scales, packed = read_scales(section, layers, bits)
        check_length(packed, packed_bits.packed_size(count, width), f"{count} levels of {bits} bits")
        zigzag = kernels.unpack(packed, count, width)
        if not packed_bits.padding_is_clear(packed, width, count):
            raise MessageError("the message is damaged: padding after its levels is not 0")
        levels = kernels.apply_level_differences(zigzag, None, (1 << bits) - 1)
        return valued(Levels(levels, scales, bits), place)


class LevelTokens:
    """A float32 scale for each layer, then the levels, zigzag-coded, in the entropy coder."""

    number = 4
    name = "level-tokens"
    uses_reference = False
    compiled_only = True

    def propose(self, values: EntryValues, place: Place) -> Proposal | None:
        levels = values.levels
        if levels is None or levels.lattice:
            return None
        plan = integers.plan(kernels.level_differences(levels.levels, None), LEVEL_MANTISSA, LEVEL_MODES)
        return Proposal(
            4 * levels.scales.size + plan.size,
            lambda: np.concatenate((scale_bytes(levels.scales), plan.encode())),
        )

    def decode(self, section: np.ndarray, place: Place, bits: int) -> EntryValues:
        scales, body = read_scales(section, len(place.layout.sizes), bits)
        zigzag = integers.decode(body, place.support.count)
        levels = kernels.apply_level_differences(zigzag, None, (1 << bits) - 1)
        return valued(Levels(levels, scales, bits), place)


class LevelDifferences:
    """Levels against those that the reference gets when it is quantized with the same scales and the same uniforms.

    The section: the scales; how levels were rounded (u8, u64 key); then the integers.
    """

    number = 5
    name = "level-differences"
    uses_reference = True
    compiled_only = True

    def propose(self, values: EntryValues, place: Place) -> Proposal | None:
        levels = values.levels
        if levels is None or levels.lattice:
            return None
        plan = plan_differences(levels, place)
        start = scale_bytes(levels.scales), rounding_bytes(levels.key)
        return Proposal(
            4 * levels.scales.size + start[1].size + plan.size,
            lambda: np.concatenate((*start, plan.encode())),
            True,
        )

    def decode(self, section: np.ndarray, place: Place, bits: int) -> EntryValues:
        scales, body = read_scales(section, len(place.layout.sizes), bits)
        key, body = read_rounding(body)
        return apply_differences(body, Levels(NO_LEVELS, scales, bits, key=key), place)
