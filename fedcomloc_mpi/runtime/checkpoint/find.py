"""The checkpoint that a run goes on from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.runtime.checkpoint.container import Container, DamagedFile, open_container
from fedcomloc_mpi.runtime.checkpoint.names import state_name, states_in
from fedcomloc_mpi.runtime.checkpoint.server_state import SavedState, read_state
from fedcomloc_mpi.runtime.client_state import ClientState


@dataclass(frozen=True)
class Found:
    """A usable checkpoint: all its files are whole. refused: a line for each newer one that is not."""

    saved: SavedState
    rows: list[Container]
    refused: list[str]

    @property
    def records(self) -> bytes:
        """The lines of rounds.jsonl until the checkpoint's round."""
        return b"".join(container.array("records").tobytes() for container in self.rows)


def newest_usable(folder: Path) -> Found | None:
    """Return the newest checkpoint in `folder` that is whole, read through; None if there is none and never was.

    Raises UserError if there are checkpoints, but none that is whole.
    """
    refused: list[str] = []
    for round, path in states_in(folder) if folder.is_dir() else []:
        try:
            saved = read_state(path)
            rows = open_rows(folder, round)
        except DamagedFile as damage:
            refused.append(f"the checkpoint of round {round} is refused: {damage}")
            continue
        return Found(saved, rows, refused)
    if refused:
        raise UserError(f"no checkpoint in {folder} can be used: {'; '.join(refused)}")
    return None


def open_rows(folder: Path, round: int) -> list[Container]:
    """Return the files with rows of one checkpoint. Raises DamagedFile."""
    chains = read_state(folder / state_name(round)).chains
    return [open_container(folder / file.name, file) for files in chains.values() for file in files]


def load_rows(rows: list[Container], state: ClientState, wanted: Callable[[int], bool]) -> set[int]:
    """Copy the rows of `wanted` clients into `state`; return the clients that took part, wanted and in the files."""
    held: set[int] = set()
    for container in rows:
        for client, row in zip(container.array("clients").tolist(), container.items("rows"), strict=True):
            if wanted(client):
                state.row(client)[:] = row
                held.add(client)
    return held
