"""The runs as a table for the terminal, as cells for the page, and as CSV files."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from fedcomloc_mpi.atomic_file import atomic_write
from fedcomloc_mpi.metrics import human_bytes
from fedcomloc_mpi.reporting.curves import Point
from fedcomloc_mpi.reporting.run import Run

HEADINGS = ("run", "status", "rounds", "accuracy", "of C(x)", "up", "down", "seconds", "total cost")


def cells(run: Run) -> tuple[str, ...]:
    """Return what stands under HEADINGS for a run; bytes are payload bytes."""
    return (
        run.label,
        run.status,
        f"{len(run.records):,}",
        _accuracy(run.accuracy),
        _accuracy(run.accuracy_compressed),
        human_bytes(run.last.uplink_payload),
        human_bytes(run.last.downlink_payload),
        f"{run.last.seconds:,.1f}",
        f"{run.last.total_cost:,.1f}",
    )


def terminal_table(runs: Sequence[Run]) -> str:
    """Return a table of the runs, aligned, without a newline at the end."""
    rows = [HEADINGS, *(cells(run) for run in runs)]
    rows = [tuple(_printable(cell) for cell in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def write_csv(path: Path, runs: Sequence[Run]) -> None:
    """Write the evaluated rounds of all runs: the columns `run` and `folder`, then those of Point."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "folder", *(field.name for field in fields(Point))])
    for run in runs:
        for point in run.curve:
            writer.writerow([run.label, run.folder, *asdict(point).values()])
    atomic_write(path, text.getvalue())


def _accuracy(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _printable(text: str) -> str:
    """Without control characters, by which a label could steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
