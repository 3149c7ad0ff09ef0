"""The wire: compressed vectors as bytes. docs/wire-format.md defines the format."""

from fedcomloc_mpi.wire.message import Encoded, coder_names, decode, decode_add, decode_into, encode
from fedcomloc_mpi.wire.reference import Reference

__all__ = ["Encoded", "Reference", "coder_names", "decode", "decode_add", "decode_into", "encode"]
