"""The names of checkpoint files, in a run's folder checkpoints/."""

import re
from pathlib import Path

FOLDER = "checkpoints"
_STATE = re.compile(r"(\d{8,})\.state")
_ROWS = re.compile(r"(\d{8,})-\d+\.rows")


def state_name(round: int) -> str:
    """Return the name of the file that makes a checkpoint: the server's state, and which other files belong to it."""
    return f"{round:08}.state"


def rows_name(round: int, node: int) -> str:
    """Return the name of the file with the rows that a node's leader wrote for the checkpoint of a round."""
    return f"{round:08}-{node}.rows"


def is_rows_name(name: str) -> bool:
    """Whether a file of this name holds rows."""
    return _ROWS.fullmatch(name) is not None


def states_in(folder: Path) -> list[tuple[int, Path]]:
    """Return the (round, path) of every state file, the newest first."""
    return _matching(folder, _STATE)


def rows_in(folder: Path) -> list[tuple[int, Path]]:
    """Return the (round, path) of every file with rows, the newest first."""
    return _matching(folder, _ROWS)


def _matching(folder: Path, pattern: re.Pattern[str]) -> list[tuple[int, Path]]:
    found = [(match, path) for path in folder.iterdir() if (match := pattern.fullmatch(path.name))]
    return sorted(((int(match[1]), path) for match, path in found), reverse=True)
