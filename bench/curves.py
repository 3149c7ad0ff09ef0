"""A run's curve (fedcomloc_mpi.reporting) as a small CSV file, from which plots and comparisons are made."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from bench import rows
from fedcomloc_mpi.reporting import Point

COLUMNS = tuple(field.name for field in fields(Point))


def write(path: Path, points: Sequence[Point]) -> None:
    """Write a curve, in place of an older one: whole bytes, six digits of all else."""
    path.unlink(missing_ok=True)
    rows.append(
        path, COLUMNS, [{name: _cell(value) for name, value in asdict(point).items()} for point in points]
    )


def read(path: Path) -> list[Point]:
    """Return the curve of a run, empty if it has none; figures that were not measured are None."""
    return [
        Point(**{name: float(row[name]) if row[name] else None for name in COLUMNS})  # type: ignore[arg-type]
        for row in rows.read(path)
    ]


def _cell(value: float | None) -> str | int | None:
    if value is None or isinstance(value, int):
        return value
    return round(value) if abs(value) >= 1e5 else f"{value:.6g}"
