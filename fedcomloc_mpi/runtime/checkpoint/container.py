"""The format of a checkpoint file: arrays and facts under one checksum, nothing that is executed when it is read.

8 bytes     magic
...         the arrays, one after the other, little-endian, C order
...         JSON: {"facts": {...}, "arrays": {name: [dtype, shape, offset]}}
8 bytes     length of the JSON, unsigned
4 bytes     CRC-32 (RFC 1952) of everything before it, unsigned
8 bytes     magic of the end
"""

import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedcomloc_mpi import kernels
from fedcomloc_mpi.atomic_file import PendingFile

_MAGIC, _END_MAGIC = b"FCLCKPT1", b"FCLCEND1"
_TRAILER = struct.Struct("<QI8s")
_BLOCK = 1 << 20
_LARGEST_JSON = 1 << 28
_DTYPES = ("<f4", "<f8", "<i8", "|u1")


class FileRef(NamedTuple):
    """One file, by name within its folder, and what its contents must come to."""

    name: str
    size: int
    crc32: int


class DamagedFile(Exception):
    """A checkpoint file is missing, cut, changed, or something else; the message names it."""


class ContainerWriter:
    """Writes one file, which appears when it is committed."""

    def __init__(self, path: Path) -> None:
        self._pending = PendingFile(path)
        self._arrays: dict[str, tuple[str, list[int], int]] = {}
        self._size = self._crc = 0
        self._write(_MAGIC)

    def add(self, name: str, array: np.ndarray) -> None:
        """Write a whole array of float32, float64, int64 or uint8."""
        dtype = array.dtype.newbyteorder("<").str
        self._arrays[name] = (dtype, list(array.shape), self._size)
        self._write_array(np.ascontiguousarray(array, dtype=dtype))

    def add_items(self, name: str, dtype: np.dtype[Any], item_shape: tuple[int, ...]) -> None:
        """Begin an array of items that are appended one by one; it ends where the next begins."""
        self._arrays[name] = (dtype.newbyteorder("<").str, [0, *item_shape], self._size)
        self._last = name

    def append(self, item: np.ndarray) -> None:
        """Write the next item of the array begun last."""
        dtype, shape, _ = self._arrays[self._last]
        shape[0] += 1
        self._write_array(np.ascontiguousarray(item, dtype=dtype))

    def finish(self, facts: Mapping[str, Any]) -> FileRef:
        """Write the end, sync, and make the file appear."""
        text = json.dumps({"facts": facts, "arrays": self._arrays}, separators=(",", ":")).encode()
        self._write(text)
        crc = self._crc
        self._write(_TRAILER.pack(len(text), crc, _END_MAGIC))
        self._pending.commit()
        return FileRef(self._pending.path.name, self._size, crc)

    def discard(self) -> None:
        """Remove what has been written."""
        self._pending.discard()

    def _write_array(self, array: np.ndarray) -> None:
        self._write(array.reshape(-1).view(np.uint8))

    def _write(self, data: bytes | np.ndarray) -> None:
        array = np.frombuffer(data, dtype=np.uint8) if isinstance(data, bytes) else data
        self._crc = kernels.crc32(array, self._crc)
        self._pending.write(array.data)
        self._size += array.size


class Container:
    """A file that has been read through and found whole."""

    def __init__(
        self, path: Path, facts: dict[str, Any], arrays: dict[str, tuple[str, list[int], int]]
    ) -> None:
        self.path, self.facts = path, facts
        self._arrays = arrays

    def require(self, name: str, dtype: type[np.generic], *shape: int | None) -> None:
        """Raise DamagedFile unless the file holds such an array; None stands for any length."""
        found, extents, _ = self._arrays[name] if name in self._arrays else self._missing(name)
        fits = len(extents) == len(shape) and all(
            wanted in (None, extent) for wanted, extent in zip(shape, extents, strict=True)
        )
        if not fits or found != np.dtype(dtype).newbyteorder("<").str:
            raise DamagedFile(f"{self.path.name} is damaged: its {name} are {found} {extents}")

    def length(self, name: str) -> int:
        """Return how many items an array has. Raises DamagedFile if the file holds none of that name."""
        _, shape, _ = self._arrays[name] if name in self._arrays else self._missing(name)
        return shape[0]

    def array(self, name: str) -> np.ndarray:
        """Return an array. Raises DamagedFile if the file holds none of that name."""
        dtype, shape, offset = self._arrays[name] if name in self._arrays else self._missing(name)
        with self.path.open("rb") as file:
            return np.fromfile(file, dtype=dtype, count=math.prod(shape), offset=offset).reshape(shape)

    def items(self, name: str) -> Iterator[np.ndarray]:
        """Yield the items of an array one by one."""
        dtype, shape, offset = self._arrays[name] if name in self._arrays else self._missing(name)
        count = math.prod(shape[1:])
        with self.path.open("rb") as file:
            file.seek(offset)
            for _ in range(shape[0]):
                yield np.fromfile(file, dtype=dtype, count=count).reshape(shape[1:])

    def _missing(self, name: str) -> tuple[str, list[int], int]:
        raise DamagedFile(f"{self.path.name} holds no {name}")


def open_container(path: Path, expected: FileRef | None = None) -> Container:
    """Read a file through and return it. Raises DamagedFile unless it is whole, and as `expected` if that is given."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise DamagedFile(f"{path.name} is no file")  # a pipe or a device may have no end
        size, crc, tail = _read_through(path)
    except OSError as error:
        raise DamagedFile(f"{path.name} cannot be read: {error.strerror or error}") from error
    damaged = DamagedFile(f"{path.name} is damaged")
    if len(tail) < _TRAILER.size:
        raise damaged
    length, written_crc, end = _TRAILER.unpack(tail[-_TRAILER.size :])
    if end != _END_MAGIC or crc != written_crc or length > min(_LARGEST_JSON, size - _TRAILER.size):
        raise damaged
    if expected is not None and (size, crc) != (expected.size, expected.crc32):
        raise DamagedFile(f"{path.name} belongs to another checkpoint")
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise DamagedFile(f"{path.name} is no checkpoint file, or one of another version")
            end_of_arrays = size - _TRAILER.size - length
            file.seek(end_of_arrays)
            contents = json.loads(file.read(length))
        arrays = {
            str(name): (str(dtype), [int(extent) for extent in shape], int(offset))
            for name, (dtype, shape, offset) in contents["arrays"].items()
        }
        for dtype, shape, offset in arrays.values():
            if dtype not in _DTYPES or min(shape) < 0:
                raise damaged
            if not 0 <= offset <= offset + math.prod(shape) * np.dtype(dtype).itemsize <= end_of_arrays:
                raise damaged
        return Container(path, dict(contents["facts"]), arrays)
    except OSError as error:
        raise DamagedFile(f"{path.name} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise damaged from error


def _read_through(path: Path) -> tuple[int, int, bytes]:
    """Return a file's size, the CRC-32 of all but what follows it, and its last bytes."""
    size, crc, tail = 0, 0, b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            size += len(block)
            tail += block
            if len(tail) > _TRAILER.size:
                crc = kernels.crc32(np.frombuffer(tail[: -_TRAILER.size], dtype=np.uint8), crc)
                tail = tail[-_TRAILER.size :]
    return size, crc, tail
