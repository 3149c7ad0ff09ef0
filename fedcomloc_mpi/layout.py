"""How the flat parameter vector is divided into layers (one layer = one parameter tensor)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate


@dataclass(frozen=True)
class Layout:
    """Sizes of the parameter tensors of a model, in registration order.

    `sizes` holds the number of entries of each layer; layer i occupies entries `offsets[i]` to `offsets[i + 1]` of the
    flat vector, whose length is `size`. Raises ValueError on a negative size.
    """

    sizes: tuple[int, ...]
    offsets: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __init__(self, sizes: Sequence[int]) -> None:
        object.__setattr__(self, "sizes", tuple(int(size) for size in sizes))
        if any(size < 0 for size in self.sizes):
            raise ValueError(f"layer sizes must not be negative: {self.sizes}")
        object.__setattr__(self, "offsets", (0, *accumulate(self.sizes)))

    @property
    def size(self) -> int:
        """Entries of the whole flat vector (d)."""
        return self.offsets[-1]
