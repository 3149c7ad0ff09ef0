"""Float differences from known values, planned and decoded in one call each."""

import numpy as np

from fedcomloc_mpi.kernels.native.binding import WORKSPACE, call, constant, same_size, typed
from fedcomloc_mpi.kernels.native.symbols import SymbolPlan


def plan_float_differences(
    values: np.ndarray, known: np.ndarray, mantissa: int
) -> tuple[int, SymbolPlan, np.ndarray]:
    """Plan float32 [k], k >= 1, against as many that the receiver knows.

    Returns (top, plan of the tokens with `mantissa` bits, their low bits as uint8): `float_differences`, `tokenise`,
    `plan_symbols` with the classes of `reference_classes`, and `pack_low` in one pass.
    """
    same_size(typed(values, np.float32), typed(known, np.float32))
    count = values.size
    tokens, classes = np.empty(count, dtype=np.uint8), np.empty(count, dtype=np.uint8)
    capacity = 4 * count + 8
    low = WORKSPACE.take("low", capacity, np.uint8)
    tables = np.empty((constant("plan_bytes") + 7) // 8, dtype=np.uint64)
    facts = np.empty(2, dtype=np.int64)
    planned = call(
        "plan_float_differences",
        tables,
        values,
        count,
        known,
        mantissa,
        tokens,
        classes,
        low,
        capacity,
        facts,
    )
    top, low_bytes = facts.tolist()
    return top, SymbolPlan(tokens, planned, classes, None, tables), low[:low_bytes].copy()


def decode_float_differences(section: np.ndarray, known: np.ndarray, top: int) -> tuple[np.ndarray, int]:
    """Return (float32 [k], bytes read) of untrusted bytes and the k >= 1 known values.

    Raises MessageError, and NonFiniteError for a value that is NaN or infinite.
    """
    count = typed(known, np.float32).size
    values = np.empty(count, dtype=np.float32)
    read = call(
        "decode_float_differences", typed(section, np.uint8), section.size, count, known, top,
        WORKSPACE.take("tokens", count, np.uint8), WORKSPACE.take("classes", count, np.uint8),
        WORKSPACE.take("decode", constant("decode_words"), np.uint32), values,
    )  # fmt: skip
    return values, read
