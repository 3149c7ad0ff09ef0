"""Both sections of a sparse vector of floats coded against a reference, in one call."""

from typing import NamedTuple

import numpy as np

from fedcomloc_mpi.kernels.native.binding import WORKSPACE, call, checked_bitmap, typed

_DECLINED = -6


class Sections(NamedTuple):
    """A value section and the index section behind it, uint8, in scratch memory; the index coder's number."""

    both: np.ndarray
    value_bytes: int
    index_coder: int


def encode_sparse_floats(
    values: np.ndarray, mask: np.ndarray, size: int, topk: np.ndarray, support: np.ndarray, held: np.ndarray
) -> Sections | None:
    """Code float32 [k], 0 < k < size, at the set bits of the bitmap `mask` of `size` entries.

    The reference is float32 `held` at the set bits of the bitmap `support`; `topk` is the bitmap of its k entries of
    largest magnitude. None: another kind of message might be smaller, and the coders are to be asked one by one; else
    these are the bytes that they would write. Valid until the next call.
    """
    count = typed(values, np.float32).size
    work = _work(size, count)
    bound = call("sparse_bound", size, count)
    out = WORKSPACE.take("sections", bound, np.uint8)
    facts = np.empty(3, dtype=np.int64)
    written = call(
        "encode_sparse_floats", values, count, checked_bitmap(mask, size), size, checked_bitmap(topk, size),
        checked_bitmap(support, size), typed(held, np.float32), held.size, work, 8 * work.size, out, out.size, facts,
        answers=_DECLINED,
    )  # fmt: skip
    if written == _DECLINED:
        return None
    value_bytes, _, index_coder = facts.tolist()
    return Sections(out[:written], value_bytes, index_coder)


def decode_sparse_floats(
    section: np.ndarray,
    indices: np.ndarray,
    index_coder: int,
    size: int,
    count: int,
    topk: np.ndarray | None,
    support: np.ndarray,
    held: np.ndarray,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return (bitmap, float32 [count]) of untrusted sections, 0 < count < size; the rest as in `encode_sparse_floats`.

    topk: None where the index section does not refer to it. None: the coders are to be asked one by one, to decode them
    or to say what is wrong.
    """
    work = _work(size, count)
    mask = np.empty((size + 7) // 8, dtype=np.uint8)
    values = np.empty(count, dtype=np.float32)
    decoded = call(
        "decode_sparse_floats", typed(section, np.uint8), section.size, typed(indices, np.uint8), indices.size,
        index_coder, size, count, checked_bitmap(topk, size), checked_bitmap(support, size),
        typed(held, np.float32), held.size, work, 8 * work.size, mask, values,
        answers=_DECLINED,
    )  # fmt: skip
    return None if decoded == _DECLINED else (mask, values)


def add_sparse_floats(
    section: np.ndarray,
    indices: np.ndarray,
    index_coder: int,
    size: int,
    count: int,
    topk: np.ndarray | None,
    support: np.ndarray,
    held: np.ndarray,
    weight: float,
    accumulator: np.ndarray,
) -> bool:
    """Add `weight` times what `decode_sparse_floats` returns to float64 `accumulator` [size], as `accumulate` does.

    False: nothing was added, and the coders are to be asked one by one.
    """
    if typed(accumulator, np.float64).size != size:
        raise ValueError(f"an accumulator of {size} entries is needed, not {accumulator.size}")
    work = _work(size, count)
    added = call(
        "add_sparse_floats", typed(section, np.uint8), section.size, typed(indices, np.uint8), indices.size,
        index_coder, size, count, checked_bitmap(topk, size), checked_bitmap(support, size),
        typed(held, np.float32), held.size, work, 8 * work.size, weight, accumulator,
        answers=_DECLINED,
    )  # fmt: skip
    return added != _DECLINED


def _work(size: int, count: int) -> np.ndarray:
    return WORKSPACE.take("sparse floats", (call("sparse_work", size, count) + 7) // 8, np.uint64)
