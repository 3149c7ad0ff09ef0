"""Float differences from a reference, planned and decoded in one call each."""

import numpy as np

from fedcomloc_mpi.kernels.native.library import WORKSPACE, call, checked_bitmap, typed
from fedcomloc_mpi.kernels.native.symbols import SymbolPlan


def plan_float_differences(
    values: np.ndarray, reference: np.ndarray, mask: np.ndarray | None, mantissa: int
) -> tuple[int, SymbolPlan, np.ndarray]:
    """Plan float32 [k], k >= 1, against the entries of `reference`, float32 [d], whose bits are set (None: all).

    Returns (top, plan of the tokens with `mantissa` bits, their low bits as uint8): `float_differences`, `tokenise`,
    `plan_symbols` with the classes of `reference_classes`, and `pack_low` in one pass.
    """
    count, size = typed(values, np.float32).size, typed(reference, np.float32).size
    tokens, classes = np.empty(count, dtype=np.uint8), np.empty(count, dtype=np.uint8)
    capacity = 4 * count + 8
    low = WORKSPACE.take("low", capacity, np.uint8)
    known = WORKSPACE.take("known", count, np.float32)
    tables = np.empty((call("plan_bytes") + 7) // 8, dtype=np.uint64)
    facts = np.empty(2, dtype=np.int64)
    planned = call(
        "plan_float_differences", tables, values, count, reference, checked_bitmap(mask, size), size, mantissa,
        known, tokens, classes, low, capacity, facts,
    )  # fmt: skip
    top, low_bytes = facts.tolist()
    return top, SymbolPlan(tokens, planned, classes, None, tables), low[:low_bytes].copy()


def decode_float_differences(
    section: np.ndarray, count: int, reference: np.ndarray, mask: np.ndarray | None, top: int
) -> tuple[np.ndarray, int]:
    """Return (float32 [count], bytes read) of untrusted bytes; the rest as above, count >= 1.

    Raises MessageError, and NonFiniteError for a value that is NaN or infinite.
    """
    size = typed(reference, np.float32).size
    values = np.empty(count, dtype=np.float32)
    read = call(
        "decode_float_differences", typed(section, np.uint8), section.size, count, reference,
        checked_bitmap(mask, size), size, top, WORKSPACE.take("known", count, np.float32),
        WORKSPACE.take("tokens", count, np.uint8), WORKSPACE.take("classes", count, np.uint8),
        WORKSPACE.take("decode", call("decode_words"), np.uint32), values,
    )  # fmt: skip
    return values, read
