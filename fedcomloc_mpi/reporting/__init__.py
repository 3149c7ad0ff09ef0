"""What runs come to, beside each other: tables, plots and one page, made from run folders alone."""

from fedcomloc_mpi.reporting.curves import TAU, Point, curve
from fedcomloc_mpi.reporting.page import write_report
from fedcomloc_mpi.reporting.run import Run, find_runs, labelled, read_run
from fedcomloc_mpi.reporting.tables import terminal_table, write_csv

__all__ = [
    "TAU",
    "Point",
    "Run",
    "curve",
    "find_runs",
    "labelled",
    "read_run",
    "terminal_table",
    "write_csv",
    "write_report",
]
