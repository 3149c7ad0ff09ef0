"""The checkpoint that a run goes on from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.metrics import parse_rounds
from fedcomloc_mpi.runtime.checkpoint.container import Container, DamagedFile, open_container
from fedcomloc_mpi.runtime.checkpoint.names import states_in
from fedcomloc_mpi.runtime.checkpoint.server_state import SavedState, Sizes, read_state
from fedcomloc_mpi.runtime.client_state import ClientState


@dataclass(frozen=True)
class Found:
    """A usable checkpoint: all its files are whole. refused: a line for each newer one that is not."""

    saved: SavedState
    rows: Sequence[Container]
    refused: Sequence[str] = ()

    @property
    def records(self) -> bytes:
        """The lines of rounds.jsonl until the checkpoint's round."""
        return b"".join(container.array("records").tobytes() for container in self.rows)


def newest_usable(folder: Path) -> Found | None:
    """Return the newest checkpoint in `folder` that is whole, read through; None if there is none and never was.

    Raises UserError if there are checkpoints, but none that is whole.
    """
    refused: list[str] = []
    try:
        states = states_in(folder) if folder.exists() else []
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}") from error
    for round, path in states:
        try:
            found = open_checkpoint(path)
            _check_records(found)
        except DamagedFile as damage:
            refused.append(f"the checkpoint of round {round} is refused: {damage}")
            continue
        return replace(found, refused=refused)
    if refused:
        raise UserError(f"no checkpoint in {folder} can be used: {'; '.join(refused)}")
    return None


def open_checkpoint(path: Path) -> Found:
    """Read a state file and the files with rows that belong to it. Raises DamagedFile."""
    saved = read_state(path)
    rows = [
        open_container(path.with_name(file.name), file) for files in saved.chains.values() for file in files
    ]
    for container in rows:
        _check_rows(container, saved.sizes)
    return Found(saved, rows)


def _check_rows(container: Container, sizes: Sizes) -> None:
    """Raise DamagedFile unless all rows are of clients of the job."""
    container.require("clients", np.int64, None)
    container.require("rows", np.float32, container.length("clients"), sizes.client_vectors, sizes.size)
    container.require("records", np.uint8, None)
    clients = container.array("clients")
    unknown = clients[(clients < 0) | (clients >= sizes.clients)]
    if unknown.size:
        raise DamagedFile(f"{container.path.name} is damaged: it has a row of client {unknown[0]}")


def _check_records(found: Found) -> None:
    """Raise DamagedFile unless a checkpoint has the record of every round until its own."""
    files = ", ".join(container.path.name for container in found.rows)
    try:
        rounds = parse_rounds(found.records, files)
    except UserError as error:
        raise DamagedFile(str(error)) from error
    numbers = [record.round for record in rounds.records]
    if rounds.truncated or numbers != list(range(1, found.saved.state.round + 1)):
        raise DamagedFile(f"{files}: not the records of rounds 1 to {found.saved.state.round}")


def load_rows(rows: Sequence[Container], state: ClientState, wanted: Callable[[int], bool]) -> set[int]:
    """Copy the rows of `wanted` clients into `state`; return the clients that took part, wanted and in the files."""
    held: set[int] = set()
    for container in rows:
        for client, row in zip(container.array("clients").tolist(), container.items("rows"), strict=True):
            if wanted(client):
                state.row(client)[:] = row
                held.add(client)
    return held
