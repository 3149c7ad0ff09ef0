"""One rank of a job whose host's interface is read, at the begin of the first round that counts and of the last round.

    mpirun -n 5 python -m bench.network_rank COUNTERS WARM_UP FLAGS...

trains with FLAGS of fedcomloc_mpi.train, and writes COUNTERS/<rank>.json: what the kernel has counted on eth0 between
round WARM_UP + 1 and the last one, whose own bytes are not in it.
"""

import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fedcomloc_mpi import train
from fedcomloc_mpi.runtime.setup import Setup


def counters() -> dict[str, int]:
    """Return bytes and frames that this host has sent by eth0, and TCP segments that it had to send again."""
    lines = Path("/proc/self/net/dev").read_text().splitlines()
    sent = next(line.partition(":")[2].split()[8:10] for line in lines if line.strip().startswith("eth0:"))
    names, figures = (
        line.split()
        for line in Path("/proc/self/net/snmp").read_text().splitlines()
        if line.startswith("Tcp:")
    )
    again = dict(zip(names, figures, strict=True))["RetransSegs"]
    return {"bytes": int(sent[0]), "frames": int(sent[1]), "retransmitted": int(again)}


def main() -> int:
    """Train; return the job's exit code."""
    folder, warm_up, *flags = sys.argv[1:]
    samples: dict[int, dict[str, int]] = {}
    original = Setup.plan

    def plan(setup: Setup, number: int, *speeds: Any) -> Any:
        samples[number] = counters()
        if number == setup.config.algorithm.rounds:
            first = samples[int(warm_up) + 1]
            counted = {name: figure - first[name] for name, figure in samples[number].items()}
            Path(folder, f"{setup.world.rank}.json").write_text(json.dumps(counted))
        return original(setup, number, *speeds)

    with patch.object(Setup, "plan", plan):
        return train.main(flags)


if __name__ == "__main__":
    sys.exit(main())
