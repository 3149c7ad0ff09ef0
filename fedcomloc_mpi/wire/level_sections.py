"""What the coders of levels share: scales, rounding, and differences from the levels of the reference."""

from dataclasses import replace

import numpy as np

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors.compressed import Levels
from fedcomloc_mpi.compressors.compressor import all_finite
from fedcomloc_mpi.compressors.quantize import MAX_BITS
from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.kernels import Mode
from fedcomloc_mpi.wire import integers
from fedcomloc_mpi.wire.value_coder import EntryValues, Place

LEVEL_MANTISSA = 2
LEVEL_MODES = (Mode.SINGLE, Mode.ADAPTIVE)
NO_LEVELS = np.empty(0, dtype=np.int32)
# The reference's levels stay below this, so that differences from them fit in 32 bits.
_PREDICTED_LIMIT = 1 << 30


def predicted_levels(levels: Levels, place: Place) -> np.ndarray:
    """Return the levels, int32 [k], that the reference's values get with the scales and rounding of `levels`."""
    return kernels.quantize(
        place.known, place.mask, place.layout, levels.scales, levels.steps, _PREDICTED_LIMIT, levels.key
    )


def plan_differences(levels: Levels, place: Place) -> integers.IntegerPlan:
    """Plan the differences of levels from those that the reference gets."""
    differences = kernels.level_differences(levels.levels, predicted_levels(levels, place))
    return integers.plan(differences, LEVEL_MANTISSA, LEVEL_MODES)


def apply_differences(section: np.ndarray, unread: Levels, place: Place) -> EntryValues:
    """Return the values of untrusted differences; `unread` lacks only its levels."""
    differences = integers.decode(section, place.support.count)
    levels = kernels.apply_level_differences(differences, predicted_levels(unread, place), unread.limit)
    return valued(replace(unread, levels=levels), place)


def valued(levels: Levels, place: Place) -> EntryValues:
    """Return the levels with their values. Raises MessageError where one is infinite."""
    values = kernels.dequantize(levels.levels, place.mask, place.layout, levels.scales, levels.steps)
    if not all_finite(values):
        raise MessageError("the message holds a value that is NaN or infinite")
    return EntryValues(values, levels)


def check_level_bits(bits: int) -> None:
    """Raise MessageError unless the header's `bits` are 1 to MAX_BITS."""
    if not 1 <= bits <= MAX_BITS:
        raise MessageError(f"the message is damaged: levels of {bits} bits; 1 to {MAX_BITS} exist")


def scale_bytes(scales: np.ndarray) -> np.ndarray:
    """Return scales, float32, as uint8."""
    return scales.astype("<f4", copy=False).view(np.uint8)


def read_scales(section: np.ndarray, count: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (`count` scales, float32; what follows them) of untrusted bytes. Raises MessageError."""
    check_level_bits(bits)
    if section.size < 4 * count:
        raise MessageError(f"the message is cut short inside its {count} scales")
    scales = np.frombuffer(section[: 4 * count].tobytes(), dtype="<f4").astype(np.float32)
    # A sign, an infinity and NaN are all beyond the bit pattern of the largest finite number.
    if scales.size and scales.view(np.uint32).max() >= 0x7F800000:
        raise MessageError("the message holds a scale that is negative, NaN or infinite")
    return scales, section[4 * count :]


def rounding_bytes(key: int | None) -> np.ndarray:
    """Return how levels were rounded: a byte 0 for to the nearest, a byte 1 and the u64 key for with uniforms."""
    data = b"\0" if key is None else b"\1" + key.to_bytes(8, "little")
    return np.frombuffer(data, dtype=np.uint8)


def read_rounding(section: np.ndarray) -> tuple[int | None, np.ndarray]:
    """Return (key, what follows it) of untrusted bytes. Raises MessageError."""
    kind = int(section[0]) if section.size else 0xFF
    if kind == 0:
        return None, section[1:]
    if kind != 1 or section.size < 9:
        raise MessageError("the message is damaged: it does not tell how its levels were rounded")
    return int.from_bytes(section[1:9].tobytes(), "little"), section[9:]
