"""Bitmaps and gaps in C; `twins.bitmaps` holds the same in numpy."""

import numpy as np

from fedcomloc_mpi.kernels.native.binding import WORKSPACE, call, checked_bitmap, constant, typed


def popcount(mask: np.ndarray) -> int:
    """Return the number of set bits."""
    return call("popcount", typed(mask, np.uint8), mask.size)


def select(vector: np.ndarray, k: int, guess: np.ndarray | None = None) -> np.ndarray:
    """Return the bitmap of the `k` entries of largest magnitude of float32 [d]; of equal ones the lowest index wins.

    guess: uint32 [2], zeros at first, updated: where the smallest magnitude kept was in the last, similar vector, as a
    bit pattern, and how far around it to look. It makes the search faster and has no other effect. Raises
    NonFiniteError on NaN or an infinity anywhere.
    """
    threshold = np.zeros(2, dtype=np.uint32) if guess is None else typed(guess, np.uint32)
    size = typed(vector, np.float32).size
    words = constant("select_words", size)
    mask = np.empty((size + 7) // 8, dtype=np.uint8)
    call("select", vector, size, k, mask, WORKSPACE.take("select", words, np.uint32), words, threshold)
    return mask


def support(vector: np.ndarray) -> np.ndarray:
    """Return the bitmap of the entries of float32 [d] whose bits are not all 0."""
    mask = np.empty((typed(vector, np.float32).size + 7) // 8, dtype=np.uint8)
    call("support", vector, vector.size, mask)
    return mask


def gather(vector: np.ndarray, mask: np.ndarray, count: int) -> np.ndarray:
    """Return float32 [count]: the entries of float32 [d] whose bits are set, `count` of them."""
    checked_bitmap(mask, typed(vector, np.float32).size)
    values = np.empty(count, dtype=np.float32)
    if call("gather", vector, vector.size, mask, values, count) != count:
        raise ValueError(f"the bitmap does not hold {count} entries")
    return values


def gather_known(
    held: np.ndarray, support: np.ndarray | None, mask: np.ndarray | None, size: int, count: int
) -> np.ndarray:
    """Return float32 [count]: a vector's entries whose bits are set in `mask` (None: all `size` of them).

    The vector: `held`, float32, at the entries of the bitmap `support` (None: all), +0 elsewhere.
    """
    known = np.empty(count, dtype=np.float32)
    call(
        "gather_known", typed(held, np.float32), held.size, checked_bitmap(support, size),
        checked_bitmap(mask, size), size, known, count,
    )  # fmt: skip
    return known


def expand(inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Return the bitmap of those set bits of the bitmap `outer` whose numbers are set in the bitmap `inner`."""
    out = np.empty(typed(outer, np.uint8).size, dtype=np.uint8)
    call("expand", typed(inner, np.uint8), inner.size, outer, outer.size, out)
    return out


def scatter(values: np.ndarray, mask: np.ndarray, out: np.ndarray) -> None:
    """Write `values`, float32 [k], to the entries of float32 [d] whose bits are set, and 0 to the others."""
    size = typed(out, np.float32).size
    call("scatter", typed(values, np.float32), values.size, checked_bitmap(mask, size), size, out)


def accumulate(values: np.ndarray, mask: np.ndarray | None, weight: float, accumulator: np.ndarray) -> None:
    """Add weight * value, in float64, to the entries of float64 [d] whose bits are set (None: to all)."""
    size = typed(accumulator, np.float64).size
    call(
        "accumulate",
        typed(values, np.float32),
        values.size,
        checked_bitmap(mask, size),
        size,
        weight,
        accumulator,
    )


def gaps(mask: np.ndarray, size: int, count: int) -> np.ndarray:
    """Return uint32 [count]: the clear bits before each of the `count` set bits, since the one before it."""
    checked_bitmap(mask, size)
    found = np.empty(count, dtype=np.uint32)
    if call("gaps", mask, size, found, count) != count:
        raise ValueError(f"the bitmap does not hold {count} entries")
    return found


def flip(found: np.ndarray, mask: np.ndarray, size: int) -> None:
    """Flip, in place, the bits that gaps, untrusted uint32 [n], name. Raises MessageError beyond the end."""
    checked_bitmap(mask, size)
    call("flip", typed(found, np.uint32), found.size, mask, size)


def mark(
    mask: np.ndarray, size: int, first: np.ndarray | None, second: np.ndarray | None
) -> tuple[int, bool, np.ndarray, np.ndarray]:
    """Mark where a bitmap of `size` entries differs from nothing (0), from `first` (1) or `second` (2), where given.

    Whichever leaves fewest marks, or fewest unmarked, is taken, of equals the lower number; with more than half marked
    the others are marked instead. Returns (number, whether so inverted, bitmap of the marks, their gaps as uint32).
    """
    marks, facts = np.empty_like(typed(mask, np.uint8)), np.empty(2, dtype=np.int64)
    capacity = size // 2 + 1
    room = WORKSPACE.take("gaps", capacity, np.uint32)
    known = checked_bitmap(first, size), checked_bitmap(second, size)
    count = call("mark", checked_bitmap(mask, size), size, *known, marks, room, capacity, facts)
    chosen, inverted = facts.tolist()
    return chosen, bool(inverted), marks, room[:count].copy()


def unmark(
    found: np.ndarray, base: np.ndarray | None, base_count: int, inverted: bool, size: int
) -> tuple[np.ndarray, int]:
    """Return (bitmap, its entries) that untrusted gaps of marks make; `base`: what they were compared with, or None.

    Raises MessageError for a mark beyond the end.
    """
    mask = np.empty((size + 7) // 8, dtype=np.uint8)
    known = checked_bitmap(base, size)
    return mask, call("unmark", typed(found, np.uint32), found.size, known, base_count, inverted, size, mask)


def positions(found: np.ndarray) -> np.ndarray:
    """Return uint32 [n]: the indices that gaps name."""
    out = np.empty(typed(found, np.uint32).size, dtype=np.uint32)
    call("positions", found, found.size, out)
    return out


def gaps_of_positions(indices: np.ndarray, size: int) -> np.ndarray:
    """Return the gaps of untrusted uint32 [n]. Raises MessageError unless they ascend strictly below `size`."""
    out = np.empty(typed(indices, np.uint32).size, dtype=np.uint32)
    call("gaps_of_positions", indices, indices.size, size, out)
    return out
