"""The folder of one run."""

import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedcomloc_mpi.atomic_file import atomic_write
from fedcomloc_mpi.errors import UserError

CONFIG_NAME = "config.toml"
# Any of these says that a folder holds a run.
_RUN_FILES = (
    CONFIG_NAME,
    "rounds.jsonl",
    "summary.json",
    "environment.json",
    "partition.npz",
    "initial.pt",
    "final.pt",
    "final_compressed.pt",
    "checkpoints",
)


def check_out(out: str | os.PathLike[str] | None) -> None:
    """Raise UserError if a run cannot go to folder `out` (None: a fresh folder in ./runs); creates
    nothing."""
    folder = Path("runs") if out is None else Path(out)
    existing = folder.absolute()
    while not os.path.lexists(existing):
        existing = existing.parent
    if not existing.is_dir():
        raise UserError(f"--out {folder}: {existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"--out {folder}: no permission to write in {existing}")
    if out is not None:
        _refuse_run_in(folder)


def create_run_folder(
    out: str | os.PathLike[str] | None,
    dataset: str,
    algorithm: str,
    config_toml: str,
    now: datetime | None = None,
) -> Path:
    """Create the folder of a run with its config.toml, and return its path.

    `out` None: a fresh runs/<UTC time>-<dataset>-<algorithm> below the current folder. Raises UserError if
    `out` holds a run already, also when another job takes it at the same moment, or cannot be written. `now`
    is for tests.
    """
    check_out(out)
    name = f"{(now or datetime.now(UTC)):%Y%m%dT%H%M%SZ}-{dataset}-{algorithm}"
    folder = _fresh_folder(Path("runs"), re.sub(r"[^\w.-]+", "_", name)) if out is None else Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Exclusive creation makes one of two jobs that race for the same folder fail.
        with open(folder / CONFIG_NAME, "x", encoding="utf-8") as file:
            try:
                file.write(config_toml)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.unlink(folder / CONFIG_NAME)  # on a full disk: half of it would look like a run
                raise
    except FileExistsError:
        _refuse_run_in(folder)
        raise
    except OSError as error:
        raise UserError(f"cannot write {folder / CONFIG_NAME}: {error.strerror}") from error
    return folder


def write_json(path: str | os.PathLike[str], value: Mapping[str, Any]) -> None:
    """Write `value` as indented JSON in one step; ValueError if it holds NaN or an infinity."""
    atomic_write(path, json.dumps(value, allow_nan=False, indent=2) + "\n")


def _fresh_folder(parent: Path, name: str) -> Path:
    attempt = 1
    try:
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            folder = parent / (name if attempt == 1 else f"{name}-{attempt}")
            try:
                folder.mkdir()
            except FileExistsError:
                attempt += 1
            else:
                return folder
    except OSError as error:
        raise UserError(f"cannot create a folder in {parent}: {error.strerror}") from error


def _refuse_run_in(folder: Path) -> None:
    for name in _RUN_FILES:
        if os.path.lexists(folder / name):
            raise UserError(f"--out {folder}: the folder holds another run ({name}); name a new folder")
