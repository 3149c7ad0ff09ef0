"""The fixed start of every message, little endian; docs/wire-format.md defines it.

0  magic "FC"                 8  layers u32
2  version u8                12  d u32
3  flags u8                  16  k u32
4  index coder u8            20  bytes of the value section u32
5  value coder u8            24  bytes of the index section u32
6  bits u8                   28  CRC-32 (RFC 1952) u32 of all bytes of the message but these four
7  reserved u8, 0            32  fingerprint of the reference u64, with FLAG_REFERENCE only
"""

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from fedcomloc_mpi import kernels
from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.layout import Layout

VERSION = 1
# Coded against the reference whose fingerprint follows the header.
FLAG_REFERENCE = 1
# Every entry is kept, and those that the message does not carry are +0.
FLAG_ZEROS_LEFT_OUT = 2
# So that 4 d bytes of values and every count fit in 32 bits.
MAX_SIZE = (1 << 30) - 1

_MAGIC = b"FC"
_FIXED = struct.Struct("<2s6B5I")
_CRC = struct.Struct("<I")
_FINGERPRINT = struct.Struct("<Q")
_CRC_AT = _FIXED.size
_AFTER_CRC = _CRC_AT + _CRC.size


@dataclass(slots=True)
class Header:
    """What the header says; `length` is its own size in bytes. `fingerprint` is None without a reference."""

    flags: int
    index_coder: int
    value_coder: int
    bits: int
    layers: int
    size: int
    count: int
    value_bytes: int
    index_bytes: int
    fingerprint: int | None = None

    @property
    def length(self) -> int:
        """Bytes before the value section."""
        return _AFTER_CRC + (0 if self.fingerprint is None else _FINGERPRINT.size)

    @property
    def message_bytes(self) -> int:
        """Bytes of the whole message."""
        return self.length + self.value_bytes + self.index_bytes

    @property
    def zeros_left_out(self) -> bool:
        """Whether every entry is kept, those that the message does not carry being +0."""
        return bool(self.flags & FLAG_ZEROS_LEFT_OUT)


def write(header: Header, message: np.ndarray) -> None:
    """Write the header, with the checksum of everything that follows it, to the start of `message`, uint8."""
    _FIXED.pack_into(
        message.data,
        0,
        _MAGIC,
        VERSION,
        header.flags,
        header.index_coder,
        header.value_coder,
        header.bits,
        0,
        header.layers,
        header.size,
        header.count,
        header.value_bytes,
        header.index_bytes,
    )
    if header.fingerprint is not None:
        _FINGERPRINT.pack_into(message.data, _AFTER_CRC, header.fingerprint)
    _CRC.pack_into(message.data, _CRC_AT, _checksum(message))


def read(message: np.ndarray, layout: Layout) -> Header:
    """Return the header of `message`, untrusted uint8, of a vector of `layout`; all but the coders is checked.

    Raises MessageError.
    """
    if message.size < _AFTER_CRC:
        raise MessageError(f"the message is cut short: {message.size} bytes, and a header takes {_AFTER_CRC}")
    magic, version, flags, index_coder, value_coder, bits, reserved, *counts = _FIXED.unpack_from(
        message.data
    )
    if magic != _MAGIC:
        raise MessageError(f"not a message: it begins with {magic!r} instead of {_MAGIC!r}")
    if version != VERSION:
        raise MessageError(
            f"the message is of format version {version}; this program reads version {VERSION}"
        )
    fingerprint = None
    if flags & FLAG_REFERENCE:
        if message.size < _AFTER_CRC + _FINGERPRINT.size:
            raise MessageError(f"the message is cut short: {message.size} bytes")
        (fingerprint,) = _FINGERPRINT.unpack_from(message.data, _AFTER_CRC)
    layers, size, count, value_bytes, index_bytes = counts
    header = Header(
        flags, index_coder, value_coder, bits, layers, size, count, value_bytes, index_bytes, fingerprint
    )
    if header.message_bytes != message.size:
        raise MessageError(
            f"the message is damaged: its header tells of {header.message_bytes} bytes, and it has {message.size}"
        )
    (checksum,) = _CRC.unpack_from(message.data, _CRC_AT)
    if checksum != _checksum(message):
        raise MessageError("the message is damaged: its checksum does not match")
    if flags & ~(FLAG_REFERENCE | FLAG_ZEROS_LEFT_OUT) or reserved:
        raise MessageError(f"the message has unknown flags ({flags:#x}, {reserved:#x})")
    if (header.size, header.layers) != (layout.size, len(layout.sizes)):
        raise MessageError(
            f"the message is of another model: {header.size} entries in {header.layers} layers, "
            f"not {layout.size} in {len(layout.sizes)}"
        )
    if header.count > header.size:
        raise MessageError(f"the message is damaged: it carries {header.count} of {header.size} entries")
    return header


def coder_numbers(message: np.ndarray) -> tuple[int, int]:
    """Return the numbers of the index coder and of the value coder of a checked message."""
    return int(message[4]), int(message[5])


def _checksum(message: np.ndarray) -> int:
    """Return the CRC-32 of the bytes before and after the checksum's own."""
    return kernels.crc32(message[_AFTER_CRC:], zlib.crc32(message.data[:_CRC_AT]))
