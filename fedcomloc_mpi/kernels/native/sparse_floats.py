"""Both sections of a sparse vector of floats coded against a reference, in one call."""

from typing import NamedTuple

import numpy as np

from fedcomloc_mpi.kernels.coded_floats import CodedFloats
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


def decode_sparse_floats(coded: CodedFloats) -> tuple[np.ndarray, np.ndarray] | None:
    """Return (bitmap, float32 [k]) of untrusted sections.

    None: the coders are to be asked one by one, to decode them or to say what is wrong.
    """
    mask = np.empty((coded.size + 7) // 8, dtype=np.uint8)
    values = np.empty(coded.kept, dtype=np.float32)
    decoded = call("decode_sparse_floats", *_passed(coded), mask, values, answers=_DECLINED)
    return None if decoded == _DECLINED else (mask, values)


def add_sparse_floats(coded: CodedFloats, weight: float, accumulator: np.ndarray) -> bool:
    """Add `weight` times what `decode_sparse_floats` returns to float64 `accumulator` [d], as `accumulate` does.

    False: nothing was added, and the coders are to be asked one by one.
    """
    if typed(accumulator, np.float64).size != coded.size:
        raise ValueError(f"an accumulator of {coded.size} entries is needed, not {accumulator.size}")
    added = call("add_sparse_floats", *_passed(coded), weight, accumulator, answers=_DECLINED)
    return added != _DECLINED


def _passed(coded: CodedFloats) -> tuple[object, ...]:
    """Return the arguments that both kernels begin with, checked, and their workspace."""
    section, indices, index_coder, size, kept, topk, support, held = coded
    work = _work(size, kept)
    return (
        typed(section, np.uint8), section.size, typed(indices, np.uint8), indices.size, index_coder, size, kept,
        checked_bitmap(topk, size), checked_bitmap(support, size), typed(held, np.float32), held.size,
        work, 8 * work.size,
    )  # fmt: skip


def _work(size: int, count: int) -> np.ndarray:
    return WORKSPACE.take("sparse floats", (call("sparse_work", size, count) + 7) // 8, np.uint64)
