"""Which coders there are, and which of them a machine, or a whole job, can use: sets of coders as bit masks.

Bit i stands for index coder i, bit 16 + j for value coder j. Ranks agree on the bitwise AND of their `available`.
"""

from collections.abc import Iterable
from functools import cache

from fedcomloc_mpi import kernels
from fedcomloc_mpi.wire.index_coders import INDEX_CODERS, IndexCoder
from fedcomloc_mpi.wire.value_coder import ValueCoder
from fedcomloc_mpi.wire.value_coders import VALUE_CODERS

_VALUE_SHIFT = 16


def available() -> int:
    """Return the coders of this machine: without compiled kernels, only those that numpy runs fast enough."""
    mask = 0
    for coders, shift in ((INDEX_CODERS, 0), (VALUE_CODERS, _VALUE_SHIFT)):
        for number, coder in coders.items():
            if kernels.COMPILED or not coder.compiled_only:
                mask |= 1 << (number + shift)
    return mask


def every() -> int:
    """Return the coders that a machine with compiled kernels has."""
    return sum(1 << number for number in INDEX_CODERS) + sum(
        1 << number + _VALUE_SHIFT for number in VALUE_CODERS
    )


def names(mask: int) -> tuple[str, ...]:
    """Return the names of all index coders in `mask`, then of all value coders, each in the order of their numbers."""
    return (*(coder.name for coder in index_coders(mask)), *(coder.name for coder in value_coders(mask)))


def numbered(names: Iterable[str]) -> int:
    """Return the set of the coders with these names. Raises KeyError on an unknown one."""
    numbers = {coder.name: coder.number for coder in INDEX_CODERS.values()}
    numbers |= {coder.name: coder.number + _VALUE_SHIFT for coder in VALUE_CODERS.values()}
    mask = 0
    for name in names:
        mask |= 1 << numbers[name]
    return mask


@cache
def index_coders(mask: int) -> tuple[IndexCoder, ...]:
    """Return the index coders of `mask`, in the order of their numbers."""
    return tuple(coder for number, coder in sorted(INDEX_CODERS.items()) if mask >> number & 1)


@cache
def value_coders(mask: int) -> tuple[ValueCoder, ...]:
    """Return the value coders of `mask`, in the order of their numbers."""
    return tuple(coder for number, coder in sorted(VALUE_CODERS.items()) if mask >> number + _VALUE_SHIFT & 1)


def index_part(mask: int) -> int:
    """Return the index coders of `mask`."""
    return mask & ((1 << _VALUE_SHIFT) - 1)


def value_part(mask: int) -> int:
    """Return the value coders of `mask`."""
    return mask >> _VALUE_SHIFT << _VALUE_SHIFT


ALWAYS = numbered(("dense", "fixed", "bitmap", "float32", "levels", "lattice-levels"))
"""The coders that can write any vector, at once: a set without them might leave a vector that nothing can write."""
