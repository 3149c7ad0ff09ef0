"""Differences against what both ends can compute, in numpy; the functions are documented in `native`."""

import numpy as np

from fedcomloc_mpi.errors import MessageError, NonFiniteError
from fedcomloc_mpi.kernels.contexts import CONTEXTS

_MAGNITUDE = np.uint32(0x7FFFFFFF)
_INFINITY = 0x7F800000
_ONE = np.uint32(1)
_TOP = np.uint32(31)


def _sign_mask(words: np.ndarray) -> np.ndarray:
    """Return all ones where the top bit of uint32 is set, else 0."""
    return np.asarray(np.uint32(0) - (words >> _TOP))


def _zigzag(differences: np.ndarray) -> np.ndarray:
    return np.asarray((differences << _ONE) ^ _sign_mask(differences))


def _unzigzag(words: np.ndarray) -> np.ndarray:
    return np.asarray((words >> _ONE) ^ (np.uint32(0) - (words & _ONE)))


def _ordered(words: np.ndarray) -> np.ndarray:
    """Map bit patterns of float32 to integers that order like the numbers; its own inverse."""
    return np.asarray(words ^ (_sign_mask(words) & _MAGNITUDE))


def _check_finite(values: np.ndarray) -> np.ndarray:
    if values.size and (values.view(np.uint32) & _MAGNITUDE).max() >= _INFINITY:
        raise NonFiniteError("NaN or an infinity among the values")
    return values


def float_differences(values: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return zigzag of the difference of ordered integers, modulo 2^32."""
    return _zigzag(_ordered(values.view(np.uint32)) - _ordered(references.view(np.uint32)))


def apply_float_differences(differences: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Undo `float_differences`."""
    words = _ordered(_ordered(references.view(np.uint32)) + _unzigzag(differences))
    return _check_finite(words.view(np.float32))


def reference_classes(references: np.ndarray, top: int | None = None) -> tuple[int, np.ndarray]:
    """Return (top, binades of each reference below it, at most 15)."""
    exponents = ((references.view(np.uint32) & _MAGNITUDE) >> np.uint32(23)).astype(np.int32)
    if top is None:
        top = int(exponents.max(initial=0))
    return top, np.clip(top - exponents, 0, CONTEXTS - 1).astype(np.uint8)


def level_differences(levels: np.ndarray, predicted: np.ndarray | None) -> np.ndarray:
    """Return zigzag of the difference, modulo 2^32."""
    words = levels.view(np.uint32)
    return _zigzag(words if predicted is None else words - predicted.view(np.uint32))


def apply_level_differences(differences: np.ndarray, predicted: np.ndarray | None, limit: int) -> np.ndarray:
    """Undo `level_differences`."""
    words = _unzigzag(differences)
    levels = (words if predicted is None else words + predicted.view(np.uint32)).view(np.int32)
    if levels.size and np.abs(levels.astype(np.int64)).max() > limit:
        raise MessageError("the message is damaged: a section cannot be decoded")
    return levels


def split_floats(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (exponent fields, mantissas with the sign on top)."""
    words = values.view(np.uint32)
    exponents = (words >> np.uint32(23)).astype(np.uint8)
    return exponents, (words & np.uint32(0x7FFFFF)) | (words >> _TOP << np.uint32(23))


def join_floats(exponents: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Undo `split_floats`."""
    words = (rest & np.uint32(0x7FFFFF)) | (exponents.astype(np.uint32) << np.uint32(23))
    words |= (rest >> np.uint32(23) & _ONE) << _TOP
    return _check_finite(words.view(np.float32))
