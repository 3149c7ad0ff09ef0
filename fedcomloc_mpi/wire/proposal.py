"""A coder's offer to write a section: the chooser compares sizes, and only the winner writes."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Proposal(NamedTuple):
    """`size`: bytes of the section that `write`, uint8, returns: exact, or up to 8 more for entropy-coded ones.

    uses_reference: whether the section can be read only with the reference.
    """

    size: int
    write: Callable[[], np.ndarray]
    uses_reference: bool = False
