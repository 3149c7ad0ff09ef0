"""Value coders: values of a support <-> bytes. Registered by number; docs/wire-format.md defines what each writes."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fedcomloc_mpi.compressors.compressed import Levels, layer_bounds
from fedcomloc_mpi.compressors.compressor import all_finite
from fedcomloc_mpi.compressors.quantize import MAX_BITS, dequantize
from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import bits as packed_bits
from fedcomloc_mpi.wire.index_coders import check_length
from fedcomloc_mpi.wire.reference import Reference
from fedcomloc_mpi.wire.support import Support

# The header's `bits` of values that are not quantized.
FLOAT_BITS = 32


@dataclass(frozen=True, eq=False)
class EntryValues:
    """float32 values [k] of the entries of a support, in index order, and the levels that determine them, if any."""

    values: np.ndarray
    levels: Levels | None


class ValueCoder(Protocol):
    """One way to write the values of a support.

    A coder that `uses_reference` is asked for a message only where there is one, and then gets it in all three calls.
    """

    number: int
    name: str
    uses_reference: bool

    def size(self, values: EntryValues, support: Support, reference: Reference | None) -> int | None:
        """Return the exact size in bytes of the section that `encode` writes; None if it cannot write these values."""
        ...

    def encode(
        self, values: EntryValues, support: Support, reference: Reference | None, section: np.ndarray
    ) -> None:
        """Write `values` into `section`, uint8 of exactly `size` bytes."""
        ...

    def decode(
        self, section: np.ndarray, support: Support, layout: Layout, bits: int, reference: Reference | None
    ) -> EntryValues:
        """Return the values that `section`, untrusted uint8 of any length, holds; `bits` is the header's.

        They may be a view of `section`. Raises MessageError, and allocates no more than O(layout.size).
        """
        ...


class Float32:
    """float32 as they are."""

    number = 0
    name = "float32"
    uses_reference = False

    def size(self, values: EntryValues, support: Support, reference: Reference | None) -> int | None:
        return 4 * values.values.size if values.levels is None else None

    def encode(
        self, values: EntryValues, support: Support, reference: Reference | None, section: np.ndarray
    ) -> None:
        section.view("<f4")[:] = values.values

    def decode(
        self, section: np.ndarray, support: Support, layout: Layout, bits: int, reference: Reference | None
    ) -> EntryValues:
        if bits != FLOAT_BITS:
            raise MessageError(f"the message is damaged: float32 values, but {bits} bits")
        check_length(section, 4 * support.count, f"{support.count} float32 values")
        values = section.view("<f4").astype(np.float32, copy=False)
        if not all_finite(values):
            raise MessageError("the message holds a value that is NaN or infinite")
        return EntryValues(values, None)


class PackedLevels:
    """A float32 scale for each layer, then the levels, zigzag-coded, in bits + 1 bits each."""

    number = 1
    name = "levels"
    uses_reference = False

    def size(self, values: EntryValues, support: Support, reference: Reference | None) -> int | None:
        if values.levels is None:
            return None
        width = values.levels.bits + 1
        return 4 * values.levels.scales.size + packed_bits.packed_size(values.levels.levels.size, width)

    def encode(
        self, values: EntryValues, support: Support, reference: Reference | None, section: np.ndarray
    ) -> None:
        assert values.levels is not None
        scales, levels = values.levels.scales, values.levels.levels
        section[: 4 * scales.size].view("<f4")[:] = scales
        zigzag = (levels << 1) ^ (levels >> 31)
        packed_bits.pack(zigzag, values.levels.bits + 1, section[4 * scales.size :])

    def decode(
        self, section: np.ndarray, support: Support, layout: Layout, bits: int, reference: Reference | None
    ) -> EntryValues:
        if not 1 <= bits <= MAX_BITS:
            raise MessageError(f"the message is damaged: levels of {bits} bits; 1 to {MAX_BITS} exist")
        layers, count, width = len(layout.sizes), support.count, bits + 1
        expected = 4 * layers + packed_bits.packed_size(count, width)
        check_length(section, expected, f"{layers} scales and {count} levels of {bits} bits")
        scales = section[: 4 * layers].view("<f4").astype(np.float32)
        # A sign, an infinity and NaN are all beyond the bit pattern of the largest finite number.
        if scales.size and scales.view(np.uint32).max() >= 0x7F800000:
            raise MessageError("the message holds a scale that is negative, NaN or infinite")
        packed = section[4 * layers :]
        zigzag = packed_bits.unpack(packed, width, count)
        if count and zigzag.max() == (1 << width) - 1:
            raise MessageError(f"the message is damaged: a level is beyond {(1 << bits) - 1}")
        if not packed_bits.padding_is_clear(packed, width, count):
            raise MessageError("the message is damaged: padding after its levels is not 0")
        signed = zigzag.view(np.int32)
        levels = Levels((signed >> 1) ^ -(signed & 1), scales, bits)
        bounds = layer_bounds(layout, None if support.complete else support.indices)
        return EntryValues(dequantize(levels, bounds), levels)


VALUE_CODERS: dict[int, ValueCoder] = {coder.number: coder for coder in (Float32(), PackedLevels())}
