"""What the kernels that read a whole message of sparse floats at once are given."""

from typing import NamedTuple

import numpy as np


class CodedFloats(NamedTuple):
    """Two untrusted sections, and the reference that they were coded against.

    section, indices: uint8, the value section and the index section; index_coder: the number of the latter's coder.
    size, kept: d and k, 0 < k < d. topk: bitmap of the reference's k entries of largest magnitude, None where the
    index section does not refer to it. The reference is float32 `held` at the set bits of the bitmap `support`.
    """

    section: np.ndarray
    indices: np.ndarray
    index_coder: int
    size: int
    kept: int
    topk: np.ndarray | None
    support: np.ndarray
    held: np.ndarray
