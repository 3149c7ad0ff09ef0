"""The wire: compressed vectors as bytes. docs/wire-format.md defines the format."""

from fedcomloc_mpi.wire.coders import ALWAYS, available, every, names, numbered
from fedcomloc_mpi.wire.lattice import mean_levels
from fedcomloc_mpi.wire.message import (
    Encoded,
    coders_of,
    decode,
    decode_add,
    decode_into,
    decode_reference,
    encode,
)
from fedcomloc_mpi.wire.reference import Reference

__all__ = [
    "ALWAYS",
    "Encoded",
    "Reference",
    "available",
    "coders_of",
    "decode",
    "decode_add",
    "decode_into",
    "decode_reference",
    "encode",
    "every",
    "mean_levels",
    "names",
    "numbered",
]
