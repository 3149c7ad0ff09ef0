"""Which checkpoints are kept."""

from collections.abc import Mapping, Set
from contextlib import suppress
from pathlib import Path

from fedcomloc_mpi.atomic_file import is_leftover
from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.runtime.checkpoint.container import DamagedFile
from fedcomloc_mpi.runtime.checkpoint.names import rows_in, states_in
from fedcomloc_mpi.runtime.checkpoint.server_state import Chains, read_state


def to_keep(files_of: Mapping[int, Set[str]], keep: int) -> list[int]:
    """Return the rounds to keep of the checkpoints with these files: the newest `keep`, newest first, and one more.

    That one is the newest that has no file in common with the newest of all, so that no single file can spoil them all.
    """
    rounds = sorted(files_of, reverse=True)
    kept = rounds[:keep]
    independent = next((round for round in rounds if not files_of[round] & files_of[rounds[0]]), None)
    return kept if independent is None or independent in kept else [*kept, independent]


class Retention:
    """Deletes checkpoints of a folder that need not be kept any longer."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder, self._keep = folder, keep
        self._files_of: dict[int, set[str]] = {}
        for round, path in states_in(folder):
            with suppress(DamagedFile):
                self._files_of[round] = files_of(read_state(path).chains)

    def add(self, round: int, chains: Chains) -> None:
        """Delete what need not be kept once the checkpoint of `round` is there.

        Files of later rounds, which a run that was cut has left, stay until the run has come to their rounds. Raises
        UserError if something cannot be deleted.
        """
        self._files_of[round] = files_of(chains)
        until_now = {past: files for past, files in self._files_of.items() if past <= round}
        kept = to_keep(until_now, self._keep)
        needed = set[str]().union(*(until_now[past] for past in kept))
        for past, path in states_in(self._folder):
            if past <= round and past not in kept:
                _delete(path)
                self._files_of.pop(past, None)
        for past, path in rows_in(self._folder):
            if past <= round and path.name not in needed:
                _delete(path)


def files_of(chains: Chains) -> set[str]:
    """Return the names of the files with rows that belong to a checkpoint."""
    return {file.name for files in chains.values() for file in files}


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed process left of files that it had not finished."""
    for path in folder.iterdir():
        if is_leftover(path):
            _delete(path)


def _delete(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        raise UserError(f"cannot delete {path}: {error.strerror}") from error
