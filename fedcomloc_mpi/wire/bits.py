"""Integers of a fixed width, packed without gaps, least significant bit first.

Value i takes bits i * width to (i + 1) * width - 1 of the stream; bit j of the stream is bit j % 8 of byte j // 8. The
last byte is filled up with zeros.
"""

import numpy as np

# Values worked on at a time (a multiple of 8): bounds the 64-bit temporaries, and calls are few.
_BLOCK = 1 << 16

_WORD = np.dtype("<u8")


def packed_size(count: int, width: int) -> int:
    """Return the number of bytes that `count` values of `width` bits take."""
    return (count * width + 7) // 8


def pack(values: np.ndarray, width: int, out: np.ndarray) -> None:
    """Pack `values`, integers in [0, 2^width), into `out`, uint8 [packed_size(len(values), width)].

    0 <= width <= 32.
    """
    if width == 0:
        return
    for start in range(0, values.size, _BLOCK):
        block = values[start : start + _BLOCK]
        # Eight values fill `width` bytes exactly; groups of eight are packed side by side.
        limbs = np.zeros((-(-block.size // 8), 8), dtype=_WORD)
        limbs.reshape(-1)[: block.size] = block
        limb_width = width
        while limbs.shape[1] > 1 and 2 * limb_width <= 64:
            limbs = limbs[:, 0::2] | (limbs[:, 1::2] << np.uint64(limb_width))
            limb_width *= 2
        words = np.zeros((limbs.shape[0], -(-width // 8)), dtype=_WORD)
        for limb in range(limbs.shape[1]):
            word, shift = divmod(limb * limb_width, 64)
            words[:, word] |= limbs[:, limb] << np.uint64(shift)
            if shift + limb_width > 64:
                words[:, word + 1] |= limbs[:, limb] >> np.uint64(64 - shift)
        packed = words.view(np.uint8)[:, :width].reshape(-1)
        first = start * width // 8
        taken = packed_size(block.size, width)
        out[first : first + taken] = packed[:taken]


def unpack(packed: np.ndarray, width: int, count: int) -> np.ndarray:
    """Return `count` values, uint32, of `packed`, uint8 [packed_size(count, width)]; 0 <= width <= 32."""
    values = np.zeros(count, dtype=np.uint32)
    if width == 0:
        return values
    for start in range(0, count, _BLOCK):
        size = min(_BLOCK, count - start)
        groups = -(-size // 8)
        first = start * width // 8
        section = packed[first : first + packed_size(size, width)]
        padded = np.zeros(groups * width, dtype=np.uint8)
        padded[: section.size] = section
        wide = np.zeros((groups, -(-width // 8) * 8), dtype=np.uint8)
        wide[:, :width] = padded.reshape(groups, width)
        words = wide.view(_WORD)
        limb_width = width
        while limb_width * 2 <= 64 and limb_width < 8 * width:
            limb_width *= 2
        limbs = np.empty((groups, 8 * width // limb_width), dtype=_WORD)
        for limb in range(limbs.shape[1]):
            word, shift = divmod(limb * limb_width, 64)
            limbs[:, limb] = words[:, word] >> np.uint64(shift)
            if shift + limb_width > 64:
                limbs[:, limb] |= words[:, word + 1] << np.uint64(64 - shift)
        while limb_width > width:
            limb_width //= 2
            halves = np.empty((groups, 2 * limbs.shape[1]), dtype=_WORD)
            halves[:, 0::2] = limbs
            halves[:, 1::2] = limbs >> np.uint64(limb_width)
            limbs = halves
        values[start : start + size] = limbs.reshape(-1)[:size] & np.uint64((1 << width) - 1)
    return values


def padding_is_clear(packed: np.ndarray, width: int, count: int) -> bool:
    """Say whether the bits after the last value are 0."""
    used = count * width % 8
    return used == 0 or int(packed[-1]) >> used == 0
