"""Streams of integers of a fixed width; `kernels.pack` writes and `kernels.unpack` reads them."""

import numpy as np


def packed_size(count: int, width: int) -> int:
    """Return the number of bytes that `count` values of `width` bits take."""
    return (count * width + 7) // 8


def padding_is_clear(packed: np.ndarray, width: int, count: int) -> bool:
    """Say whether the bits after the last value are 0."""
    used = count * width % 8
    return used == 0 or int(packed[-1]) >> used == 0
