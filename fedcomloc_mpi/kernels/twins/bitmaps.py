"""Bitmaps and gaps in numpy; the functions are documented in `native`."""

import numpy as np

from fedcomloc_mpi.errors import MessageError, NonFiniteError


def popcount(mask: np.ndarray) -> int:
    """Return the number of set bits."""
    return int(np.bitwise_count(mask).sum(dtype=np.int64))


def _flags(mask: np.ndarray, size: int) -> np.ndarray:
    return np.unpackbits(mask, count=size, bitorder="little").view(np.bool_)


def select(vector: np.ndarray, k: int, guess: np.ndarray | None = None) -> np.ndarray:
    """Return the bitmap of the `k` entries of largest magnitude; of equal ones the lowest index wins."""
    magnitudes = vector.view(np.int32) & np.int32(0x7FFFFFFF)
    if vector.size and magnitudes.max() >= 0x7F800000:
        raise NonFiniteError("NaN or an infinity among the values")
    if not 0 <= k <= vector.size:
        raise ValueError(f"k must be between 0 and {vector.size}, not {k}")
    flags = np.zeros(vector.size, dtype=np.bool_)
    if k:
        threshold = np.partition(magnitudes, vector.size - k)[vector.size - k]
        if guess is not None:
            guess[0] = threshold
        flags = magnitudes >= threshold
        surplus = int(np.count_nonzero(flags)) - k
        if surplus:
            ties = np.flatnonzero(magnitudes == threshold)
            flags[ties[ties.size - surplus :]] = False
    return np.packbits(flags, bitorder="little")


def support(vector: np.ndarray) -> np.ndarray:
    """Return the bitmap of the entries whose bits are not all 0."""
    return np.packbits(vector.view(np.uint32) != 0, bitorder="little")


def gather(vector: np.ndarray, mask: np.ndarray, count: int) -> np.ndarray:
    """Return the entries whose bits are set."""
    values = np.asarray(vector[_flags(mask, vector.size)])
    if values.size != count:
        raise ValueError(f"the bitmap does not hold {count} entries")
    return values


def gather_known(
    held: np.ndarray, support: np.ndarray | None, mask: np.ndarray | None, size: int, count: int
) -> np.ndarray:
    """Return the entries of a vector that is given by its support."""
    vector = held
    if support is not None:
        vector = np.zeros(size, dtype=np.float32)
        vector[_flags(support, size)] = held
    return vector.copy() if mask is None else gather(vector, mask, count)


def expand(inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Return those set bits of `outer` whose numbers are set in `inner`."""
    flags = np.unpackbits(outer, bitorder="little")
    places = np.flatnonzero(flags)
    flags[places] = np.unpackbits(inner, count=places.size, bitorder="little")
    return np.packbits(flags, bitorder="little")


def scatter(values: np.ndarray, mask: np.ndarray, out: np.ndarray) -> None:
    """Write the values to the entries whose bits are set, and 0 to the others."""
    out.fill(0)
    out[np.flatnonzero(np.unpackbits(mask, count=out.size, bitorder="little"))] = values


def accumulate(values: np.ndarray, mask: np.ndarray | None, weight: float, accumulator: np.ndarray) -> None:
    """Add weight * value to the entries whose bits are set."""
    products = weight * values.astype(np.float64)
    if mask is None:
        accumulator += products
    else:
        accumulator[_flags(mask, accumulator.size)] += products


def gaps(mask: np.ndarray, size: int, count: int) -> np.ndarray:
    """Return the clear bits before each set bit."""
    indices = np.flatnonzero(_flags(mask, size))
    if indices.size != count:
        raise ValueError(f"the bitmap does not hold {count} entries")
    return (np.diff(indices, prepend=-1) - 1).astype(np.uint32)


def flip(found: np.ndarray, mask: np.ndarray, size: int) -> None:
    """Flip the bits that gaps name."""
    # Checked in floating point first: a hostile sum must not wrap around.
    if found.sum(dtype=np.float64) + found.size > size:
        raise MessageError("the message is damaged: a section cannot be decoded")
    indices = np.cumsum(found.astype(np.int64) + 1) - 1
    flags = np.zeros(size, dtype=np.bool_)
    flags[indices] = True
    mask ^= np.packbits(flags, bitorder="little")


def mark(
    mask: np.ndarray, size: int, first: np.ndarray | None, second: np.ndarray | None
) -> tuple[int, bool, np.ndarray, np.ndarray]:
    """Return (number of the base, whether inverted, bitmap of the marks, their gaps)."""
    bases = ((0, mask), *((n, mask ^ base) for n, base in ((1, first), (2, second)) if base is not None))
    counts = {number: popcount(marks) for number, marks in bases}
    chosen = min(counts, key=lambda number: (min(counts[number], size - counts[number]), number))
    marks, inverted = dict(bases)[chosen].copy(), 2 * counts[chosen] > size
    if inverted:
        marks = np.packbits(~_flags(marks, size), bitorder="little")
    return chosen, inverted, marks, gaps(marks, size, popcount(marks))


def unmark(
    found: np.ndarray, base: np.ndarray | None, base_count: int, inverted: bool, size: int
) -> tuple[np.ndarray, int]:
    """Return (bitmap, its entries)."""
    flags = np.zeros(size, dtype=np.bool_) if base is None else _flags(base, size).copy()
    mask = np.packbits(~flags if inverted else flags, bitorder="little")
    flip(found, mask, size)
    return mask, popcount(mask)


def positions(found: np.ndarray) -> np.ndarray:
    """Return the indices that gaps name."""
    return (np.cumsum(found.astype(np.int64) + 1) - 1).astype(np.uint32)


def gaps_of_positions(indices: np.ndarray, size: int) -> np.ndarray:
    """Return the gaps of untrusted indices."""
    wide = indices.astype(np.int64)
    steps = np.diff(wide, prepend=-1)
    if wide.size and (steps.min() < 1 or wide.max() >= size):
        raise MessageError("the message is damaged: a section cannot be decoded")
    return (steps - 1).astype(np.uint32)
