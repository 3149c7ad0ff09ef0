"""What every value coder offers, and what it is told."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors.compressed import Levels
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire.proposal import Proposal
from fedcomloc_mpi.wire.reference import Reference
from fedcomloc_mpi.wire.support import Support

# The header's `bits` of values that are not quantized.
FLOAT_BITS = 32


class EntryValues(NamedTuple):
    """float32 values [k] of the entries of a support, in index order, and the levels that determine them, if any."""

    values: np.ndarray
    levels: Levels | None


@dataclass(eq=False)
class Place:
    """Where values belong: what sender and receiver both know before the values are coded."""

    layout: Layout
    support: Support
    reference: Reference | None

    @property
    def mask(self) -> np.ndarray | None:
        """The support's bitmap; None if it is complete."""
        return None if self.support.complete else self.support.mask

    @cached_property
    def known(self) -> np.ndarray:
        """The reference's values, float32 [k], of the same entries."""
        assert self.reference is not None
        reference = self.reference
        if self.support.complete:
            return reference.vector
        support = None if reference.values.size == reference.layout.size else reference.support_mask
        return kernels.gather_known(
            reference.values, support, self.support.mask, self.support.size, self.support.count
        )


class ValueCoder(Protocol):
    """One way to write the values of a support.

    uses_reference: whether it is asked, in both directions, only where `Place.reference` is not None. compiled_only:
    whether it is offered only where the kernels are compiled.
    """

    number: int
    name: str
    uses_reference: bool
    compiled_only: bool

    def propose(self, values: EntryValues, place: Place) -> Proposal | None:
        """Offer to write `values`; None if this coder cannot."""
        ...

    def decode(self, section: np.ndarray, place: Place, bits: int) -> EntryValues:
        """Return the values that `section`, untrusted uint8 of any length, holds; `bits` is the header's.

        They may be a view of `section`. Raises MessageError, and allocates no more than O(layout.size).
        """
        ...
