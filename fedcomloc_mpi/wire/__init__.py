"""The wire: compressed vectors as bytes. docs/wire-format.md defines the format."""

from fedcomloc_mpi.wire.coders import available, names
from fedcomloc_mpi.wire.message import Encoded, decode, decode_add, decode_into, encode
from fedcomloc_mpi.wire.reference import Reference

__all__ = ["Encoded", "Reference", "available", "decode", "decode_add", "decode_into", "encode", "names"]
