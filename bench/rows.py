"""Raw results as CSV files, a row appended as each measurement ends, by several processes at once if need be."""

import csv
import fcntl
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, none if it does not exist."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def find(path: Path, key: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the last row whose columns are what `key` says, as text; None if there is none."""
    wanted = {name: str(value) for name, value in key.items()}
    found = [row for row in read(path) if all(row[name] == value for name, value in wanted.items())]
    return found[-1] if found else None


def append(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows, after a header if the file is new; ValueError if it has other columns.

    A lock keeps rows of processes that append at the same moment apart.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writerows(rows)
    with path.open("a+", newline="", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        header = next(csv.reader(file), None)
        if header not in (None, list(columns)):
            raise ValueError(f"{path} has other columns than {', '.join(columns)}")
        file.seek(0, os.SEEK_END)
        if header is None:
            csv.DictWriter(file, columns, lineterminator="\n").writeheader()
        file.write(text.getvalue())
