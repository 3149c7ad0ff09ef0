"""What callers of the entropy coder choose: the kind of the symbols, and how the context of a symbol is found."""

from enum import IntEnum

# The kind of plain bytes; kinds 0 to 3 are log-linear tokens with that many mantissa bits.
BYTES = 4

# Contexts that a symbol can have; classes are below it.
CONTEXTS = 16


class Mode(IntEnum):
    """How the entropy coder finds a symbol's context; the numbers are part of the format.

    SINGLE: there is one. ADAPTIVE: from a running mean of the sizes of the symbols before it. CLASSES: both ends know
    a class for every symbol.
    """

    SINGLE = 0
    ADAPTIVE = 1
    CLASSES = 2
