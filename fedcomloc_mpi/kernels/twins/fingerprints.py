"""The content hash of a vector; docs/wire-format.md defines it."""

import numpy as np

_WORDS = 1 << 13
_MASK64 = (1 << 64) - 1
_INCREMENT = 0x9E3779B97F4A7C15
_MULTIPLIER_1 = 0xBF58476D1CE4E5B9
_MULTIPLIER_2 = 0x94D049BB133111EB


def _mix(word: int) -> int:
    word = ((word ^ (word >> 30)) * _MULTIPLIER_1) & _MASK64
    word = ((word ^ (word >> 27)) * _MULTIPLIER_2) & _MASK64
    return word ^ (word >> 31)


def _hash(data: np.ndarray) -> int:
    """Return the hash of uint8 [n]."""
    padded = np.zeros((data.size + 7) // 8 * 8, dtype=np.uint8)
    padded[: data.size] = data
    words = padded.view("<u8")
    total = 0
    for number, start in enumerate(range(0, words.size, _WORDS)):
        block = words[start : start + _WORDS]
        z = block + np.arange(1, block.size + 1, dtype=np.uint64) * np.uint64(_INCREMENT)
        z = (z ^ (z >> np.uint64(32))) * np.uint64(_MULTIPLIER_1)
        z ^= z >> np.uint64(29)
        total += _mix((int(z.sum(dtype=np.uint64)) + (number + 1) * _INCREMENT) & _MASK64)
    return _mix((total + data.size) & _MASK64)


def fingerprint(mask: np.ndarray, values: np.ndarray, size: int) -> int:
    """Return the 64-bit content hash."""
    inner = (_hash(values.astype("<f4", copy=False).view(np.uint8)) + _INCREMENT) & _MASK64
    return _mix((_hash(mask) + _mix(inner) + size) & _MASK64)
