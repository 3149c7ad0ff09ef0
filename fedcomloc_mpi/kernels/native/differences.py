"""Differences from what both ends can compute, in C."""

import numpy as np

from fedcomloc_mpi.kernels.native.binding import call, same_size, typed


def float_differences(values: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return uint32 [k]: zigzag of the difference of the ordered integers of two float32 [k], modulo 2^32."""
    same_size(typed(values, np.float32), typed(references, np.float32))
    out = np.empty(values.size, dtype=np.uint32)
    call("float_differences", values, references, values.size, out)
    return out


def apply_float_differences(differences: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return the float32 [k] that `float_differences` was given. Raises NonFiniteError."""
    same_size(typed(differences, np.uint32), typed(references, np.float32))
    values = np.empty(references.size, dtype=np.float32)
    call("apply_float_differences", differences, references, values.size, values)
    return values


def reference_classes(references: np.ndarray, top: int | None = None) -> tuple[int, np.ndarray]:
    """Return (top, uint8 [k]): binades of each reference below the one with exponent field `top`, at most 15.

    top None: the largest exponent field of float32 [k].
    """
    classes = np.empty(typed(references, np.float32).size, dtype=np.uint8)
    return call(
        "reference_classes", references, references.size, -1 if top is None else top, classes
    ), classes


def level_differences(levels: np.ndarray, predicted: np.ndarray | None) -> np.ndarray:
    """Return uint32 [k]: zigzag of the difference of two int32 [k], modulo 2^32; None is all zeros."""
    if predicted is not None:
        same_size(levels, typed(predicted, np.int32))
    out = np.empty(typed(levels, np.int32).size, dtype=np.uint32)
    call("level_differences", levels, predicted, levels.size, out)
    return out


def apply_level_differences(differences: np.ndarray, predicted: np.ndarray | None, limit: int) -> np.ndarray:
    """Return the int32 [k] that `level_differences` was given. Raises MessageError on a magnitude beyond `limit`."""
    if predicted is not None:
        same_size(differences, typed(predicted, np.int32))
    levels = np.empty(typed(differences, np.uint32).size, dtype=np.int32)
    call("apply_level_differences", differences, predicted, levels.size, limit, levels)
    return levels
