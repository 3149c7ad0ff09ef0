"""The command `python -m fedcomloc_mpi.report RUN...`: run folders beside each other, as table, plots, page and CSV.

Exit codes: 0 done, 2 a mistake of the user's.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.reporting import find_runs, labelled, read_run, terminal_table, write_report


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the runs, print their table and write the report; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m fedcomloc_mpi.report",
        description="Compare runs: a table here, and in a folder report.html, plots (PNG, SVG) and rounds.csv.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, or a folder of run folders")
    parser.add_argument(
        "--out", type=Path, default=Path("report"), help="folder for the report (default: report)"
    )
    parser.add_argument("--table", action="store_true", help="print the table and write nothing")
    chosen = parser.parse_args(arguments)
    try:
        runs = labelled([read_run(folder) for folder in find_runs(chosen.runs)])
        print(terminal_table(runs))
        if not chosen.table:
            print(f"\nreport: {write_report(chosen.out, runs)}")
    except UserError as error:
        print(f"fedcomloc_mpi.report: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
