"""What the groups of options share: their check, and bounds that several options have."""

from fedcomloc_mpi.config.options import Interval, options_of

FRACTION = (Interval(0, 1, above=True),)
COUNT = (Interval(1, 2**31 - 1),)
COUNT_OR_ZERO = (Interval(0, 2**31 - 1),)
BITS = (Interval(1, 16), Interval(32, 32))
SWITCH = ("on", "off")


class Group:
    """Checks the fields of a group of options. Raises UserError."""

    def __post_init__(self) -> None:
        for each in options_of(type(self)):
            object.__setattr__(self, each.name, each.check(getattr(self, each.name), each.name))
