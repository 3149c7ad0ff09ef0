"""Files that are either whole or not there."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fedcomloc_mpi.errors import UserError

_SUFFIX = ".tmp"


class PendingFile:
    """A new file that becomes visible under its name, whole and synced to disk, when it is committed.

    Until then an older file of that name stays as it is. An OSError, such as a full disk, becomes a UserError that
    names the file; nothing is left of the new one then, or after `discard`. A killed process leaves a file whose name
    `is_leftover` knows.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}{_SUFFIX}")
        try:
            self.file: BinaryIO = open(self._temporary, "xb")  # noqa: SIM115 (closed by commit and discard)
        except OSError as error:
            raise self._user_error(error) from error

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`."""
        try:
            self.file.write(data)
        except OSError as error:
            self.discard()
            raise self._user_error(error) from error

    def commit(self) -> None:
        """Sync the file and give it its name."""
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            os.replace(self._temporary, self.path)
        except OSError as error:
            self.discard()
            raise self._user_error(error) from error
        _sync_folder(self.path.parent)

    def discard(self) -> None:
        """Remove what has been written."""
        with suppress(OSError):
            self.file.close()
        with suppress(OSError):
            self._temporary.unlink()

    def _user_error(self, error: OSError) -> UserError:
        return UserError(f"cannot write {self.path}: {error.strerror or error}")


def is_leftover(path: Path) -> bool:
    """Whether a file is what a killed process left of one that it had not finished."""
    return path.name.startswith(".") and path.name.endswith(_SUFFIX)


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under `path` only when the block ends without an error: a PendingFile."""
    pending = PendingFile(path)
    try:
        yield pending.file
    except BaseException as error:
        pending.discard()
        if isinstance(error, OSError):
            raise pending._user_error(error) from error
        raise
    pending.commit()


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write `data` (text as UTF-8) to `path` in one step: see `atomic_file`."""
    with atomic_file(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def _sync_folder(folder: Path) -> None:
    # The rename is durable only when the folder is; some network file systems cannot sync one.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
