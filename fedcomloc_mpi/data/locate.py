"""Find a data set's files in the folder that the user names, or say where they were looked for."""

import os
from collections.abc import Sequence
from pathlib import Path

from fedcomloc_mpi.errors import UserError


def required_folder(dataset: str, data_dir: str | os.PathLike[str] | None, layout: str) -> Path:
    """Return `data_dir` as a path (a leading ~ expanded); it need not exist.

    `layout` is where the files lie inside it, for the message. Raises UserError if `data_dir` is None or
    empty.
    """
    if data_dir is None or not os.fspath(data_dir):
        raise UserError(
            f"--dataset {dataset} needs --data-dir DIR, a folder that holds {layout} (--download fills it)"
        )
    return Path(data_dir).expanduser()


def locate(
    dataset: str,
    data_dir: Path,
    folders: Sequence[str],
    files: Sequence[str],
    suffixes: Sequence[str] = ("",),
) -> list[Path]:
    """Return the paths of `files`, all from one folder: the first of `data_dir/folder` that holds every one.

    A file counts as present if it exists with any of `suffixes`, tried in order. Raises UserError that names
    what is missing, the folders searched, and what to do.
    """
    missing: list[str] = []
    for folder in (data_dir / folder for folder in folders):
        found = [
            next((path for s in suffixes if os.path.isfile(path := folder / (f + s))), None) for f in files
        ]
        present = [path for path in found if path is not None]
        if len(present) == len(files):
            return present
        absent = [file for file, path in zip(files, found, strict=True) if path is None]
        if not missing or len(absent) < len(missing):
            missing = absent
    ending = "".join(f"[{suffix}]" for suffix in suffixes if suffix)
    names = ", ".join(file + ending for file in missing)
    if os.path.isdir(data_dir):
        looked = "looked in " + ", ".join(str(data_dir / folder) for folder in folders)
    else:
        looked = f"the folder {data_dir} (--data-dir) does not exist"
    raise UserError(
        f"--dataset {dataset}: did not find {names}; {looked}; put the files into {data_dir / folders[0]}, "
        "name another --data-dir, or add --download"
    )
