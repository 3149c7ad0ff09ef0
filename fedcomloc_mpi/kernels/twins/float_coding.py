"""Float differences from known values, composed of the other twins; the functions are documented in `native`."""

import numpy as np

from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.kernels.contexts import BYTES, Mode
from fedcomloc_mpi.kernels.twins.differences import (
    apply_float_differences,
    float_differences,
    reference_classes,
)
from fedcomloc_mpi.kernels.twins.symbols import SymbolPlan, decode_symbols, plan_symbols
from fedcomloc_mpi.kernels.twins.tokens import pack_low, tokenise, unpack_low


def plan_float_differences(
    values: np.ndarray, known: np.ndarray, mantissa: int
) -> tuple[int, SymbolPlan, np.ndarray]:
    """Return (top, plan of the tokens, low bits)."""
    top, classes = reference_classes(known)
    differences = float_differences(values, known)
    tokens, low_bits = tokenise(differences, mantissa)
    plan = plan_symbols(tokens, mantissa, Mode.CLASSES, classes)
    return top, plan, pack_low(differences, mantissa, low_bits)


def decode_float_differences(section: np.ndarray, known: np.ndarray, top: int) -> tuple[np.ndarray, int]:
    """Return (values, bytes read)."""
    if not section.size:
        raise MessageError("the message is cut short inside a section")
    mantissa = int(section[0]) >> 3
    if mantissa >= BYTES:
        raise MessageError("the message is damaged: a section cannot be decoded")
    _, classes = reference_classes(known, top)
    tokens, read = decode_symbols(section, known.size, mantissa, classes)
    differences, low_read = unpack_low(section[read:], tokens, mantissa)
    return apply_float_differences(differences, known), read + low_read
