"""Send messages of more than 2 GiB for real, by both exchanges, and check every byte. Needs about 9 GB of memory.

mpirun -n 2 python -m tests.soak.large_messages [--write docs/results/reliability.md]
"""

import argparse
import contextlib
import os
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI

from fedcomloc_mpi.transport.exchange import Command, Downlink
from fedcomloc_mpi.transport.registry import EXCHANGES
from fedcomloc_mpi.transport.report import RankReport
from fedcomloc_mpi.transport.watchdog import Watchdog
from fedcomloc_mpi.transport.world import library_version, open_world
from tests.soak.document import commit, put_section, today

SIZE = 2**31 + 1000


def check(name: str) -> str:
    """Send one such message up and one down; return what to say of it."""
    world = open_world(MPI.COMM_WORLD)
    exchange = EXCHANGES[name](world, Watchdog(world, 600.0), 0, 1, 1, 1, SIZE)
    pattern = np.arange(251, dtype=np.uint8)
    content = np.resize(pattern, SIZE)
    started = time.monotonic()
    if world.is_server:
        (arrival,) = exchange.arrivals([0, 1], contextlib.nullcontext())
        assert np.array_equal(arrival.messages[0][0], content)
        del arrival
        exchange.send_downlink(Downlink(Command.FINISH, [content], np.zeros(world.size)))
    else:
        exchange.send_uplink(RankReport(0, np.zeros(0), np.zeros(1), np.array([[SIZE]])), [content])
        (received,) = exchange.receive_downlink().vectors
        assert np.array_equal(received, content)
    exchange.meter.check(world)
    return f"{name}: {SIZE} bytes up and down in {time.monotonic() - started:.1f} s, every byte right"


def main() -> None:
    """Check both exchanges; print, and write down if asked to, what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="write the result to this file")
    options = parser.parse_args()
    results = [check(name) for name in EXCHANGES]
    if MPI.COMM_WORLD.rank != 0:
        return
    library = library_version().splitlines()[0]
    print("\n".join([library, *results]))
    if options.write:
        text = (
            f"`mpirun -n 2 python -m tests.soak.large_messages`, {today()}, commit {commit()}, {os.cpu_count()} cores,"
            f" {library}:\n\n- {f'{chr(10)}- '.join(results)}\n"
        )
        put_section(options.write, "# Messages beyond 2 GiB", text)


if __name__ == "__main__":
    main()
