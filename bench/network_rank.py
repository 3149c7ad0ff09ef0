"""One rank of a job whose host's interface is read twice: in the first round that counts, and in the last round.

    mpirun -n 5 python -m bench.network_rank COUNTERS WARM_UP FLAGS...

trains with FLAGS of fedcomloc_mpi.train, and writes COUNTERS/<rank>.json: what the kernel has counted on eth0 from
round WARM_UP + 1 to the last one, whose own bytes are not in it. A client's interface is read at the begin of a round,
when the server has received all of the round before; the server's when it has received the uploads of a round, since
then the clients have received all that it has sent.
"""

import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fedcomloc_mpi import train
from fedcomloc_mpi.runtime.collector import Collector
from fedcomloc_mpi.runtime.setup import RoundPlan, Setup


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


class Reading:
    """The two readings of this rank's interface."""

    def __init__(self, folder: Path, first: int) -> None:
        """first: the number of the first round that counts. folder: where the result goes."""
        self._folder, self._first = folder, first
        self._before: dict[str, int] = {}

    def read(self, setup: Setup, number: int) -> None:
        """Read the interface, if this is the first round that counts or the last round."""
        if number == self._first:
            self._before = counters()
        elif number == setup.config.algorithm.rounds:
            counted = {name: figure - self._before[name] for name, figure in counters().items()}
            (self._folder / f"{setup.world.rank}.json").write_text(json.dumps(counted))


def main() -> int:
    """Train; return the job's exit code."""
    folder, warm_up, *flags = sys.argv[1:]
    reading = Reading(Path(folder), int(warm_up) + 1)
    original_plan, original_collect = Setup.plan, Collector.collect

    def plan(setup: Setup, number: int, *speeds: Any) -> Any:
        if setup.world.rank:
            reading.read(setup, number)
        return original_plan(setup, number, *speeds)

    def collect(collector: Collector, plan: RoundPlan, *arguments: Any) -> Any:
        collected = original_collect(collector, plan, *arguments)
        reading.read(collector._setup, plan.round.number)
        return collected

    with patch.object(Setup, "plan", plan), patch.object(Collector, "collect", collect):
        return train.main(flags)


if __name__ == "__main__":
    sys.exit(main())
