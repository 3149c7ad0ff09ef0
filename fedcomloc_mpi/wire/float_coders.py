"""Value coders of float32 values."""

import numpy as np

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors.compressor import all_finite
from fedcomloc_mpi.errors import MessageError, NonFiniteError
from fedcomloc_mpi.kernels import BYTES, Mode
from fedcomloc_mpi.wire.index_coders import check_length
from fedcomloc_mpi.wire.proposal import Proposal
from fedcomloc_mpi.wire.value_coder import FLOAT_BITS, EntryValues, Place


class Float32:
    """float32 as they are."""

    number = 0
    name = "float32"
    uses_reference = False
    compiled_only = False

    def propose(self, values: EntryValues, place: Place) -> Proposal | None:
        if values.levels is not None:
            return None
        return Proposal(
            4 * values.values.size, lambda: values.values.astype("<f4", copy=False).view(np.uint8)
        )

    def decode(self, section: np.ndarray, place: Place, bits: int) -> EntryValues:
        _check_float_bits(bits)
        check_length(section, 4 * place.support.count, f"{place.support.count} float32 values")
        values = section.view("<f4").astype(np.float32, copy=False)
        if not all_finite(values):
            raise _not_finite()
        return EntryValues(values, None)


class SplitFloats:
    """The floats' exponent fields in the entropy coder, then signs and mantissas, 24 bits each."""

    number = 2
    name = "split-float32"
    uses_reference = False
    compiled_only = True

    def propose(self, values: EntryValues, place: Place) -> Proposal | None:
        if values.levels is not None or not values.values.size:
            return None
        exponents, rest = kernels.split_floats(values.values)
        plan = kernels.plan_symbols(exponents, BYTES, Mode.SINGLE)
        return Proposal(
            plan.size + 3 * rest.size, lambda: np.concatenate((plan.encode(), kernels.pack(rest, 24)))
        )

    def decode(self, section: np.ndarray, place: Place, bits: int) -> EntryValues:
        _check_float_bits(bits)
        count = place.support.count
        if not count:
            raise MessageError("the message is damaged: its values are coded, and there are none")
        exponents, read = kernels.decode_symbols(section, count, BYTES)
        check_length(section, read + 3 * count, f"{count} split float32 values")
        try:
            return EntryValues(
                kernels.join_floats(exponents, kernels.unpack(section[read:], count, 24)), None
            )
        except NonFiniteError:
            raise _not_finite() from None


class FloatDifferences:
    """Differences from the reference: of the bit patterns as ordered integers, zigzag-coded, in the entropy coder.

    The section: u8, the exponent field that classes are counted down from; then the integers.
    """

    number = 3
    name = "float32-differences"
    uses_reference = True
    compiled_only = True
    _mantissa = 1

    def propose(self, values: EntryValues, place: Place) -> Proposal | None:
        if values.levels is not None or place.reference is None:
            return None
        if not values.values.size:
            return Proposal(1, lambda: np.zeros(1, dtype=np.uint8), True)
        top, plan, low = kernels.plan_float_differences(values.values, place.known, self._mantissa)

        def write() -> np.ndarray:
            return np.concatenate((np.array([top], dtype=np.uint8), plan.encode(), low))

        return Proposal(1 + plan.size + low.size, write, True)

    def decode(self, section: np.ndarray, place: Place, bits: int) -> EntryValues:
        _check_float_bits(bits)
        if not section.size:
            raise MessageError("the message is cut short inside its values")
        count, top = place.support.count, int(section[0])
        if not count:
            check_length(section, 1, "no value at all")
            return EntryValues(np.empty(0, dtype=np.float32), None)
        try:
            values, read = kernels.decode_float_differences(section[1:], place.known, top)
        except NonFiniteError:
            raise _not_finite() from None
        check_length(section, 1 + read, f"{count} differences")
        return EntryValues(values, None)


def _not_finite() -> MessageError:
    return MessageError("the message holds a value that is NaN or infinite")


def _check_float_bits(bits: int) -> None:
    if bits != FLOAT_BITS:
        raise MessageError(f"the message is damaged: float32 values, but {bits} bits")
