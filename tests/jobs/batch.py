"""Run `fedcomloc_mpi.train` once for every command line in FOLDER/lines.json, all in one job.

    mpirun -n 3 python tests/jobs/batch.py FOLDER

What rank r prints for command line i goes to FOLDER/i.r.out and FOLDER/i.r.err, its exit code to FOLDER/i.r.code.
"""

import contextlib
import json
import sys
from pathlib import Path

from fedcomloc_mpi import train
from fedcomloc_mpi.transport.launcher import launched_rank


def main(folder: Path) -> None:
    for number, flags in enumerate(json.loads((folder / "lines.json").read_text())):
        name = f"{number}.{launched_rank()}"
        with (
            open(folder / f"{name}.out", "w") as out,
            open(folder / f"{name}.err", "w") as err,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = train.main(flags)
        (folder / f"{name}.code").write_text(str(code))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
