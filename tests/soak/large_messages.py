"""Send messages of more than 2 GiB for real, by both exchanges, and check every byte. Needs about 9 GB of memory.

mpirun -n 2 python -m tests.soak.large_messages
"""

import contextlib
import time

import numpy as np
from mpi4py import MPI

from fedcomloc_mpi.transport.exchange import Command, Downlink
from fedcomloc_mpi.transport.registry import EXCHANGES
from fedcomloc_mpi.transport.report import RankReport
from fedcomloc_mpi.transport.watchdog import Watchdog
from fedcomloc_mpi.transport.world import library_version, open_world

SIZE = 2**31 + 1000


def check(name: str) -> None:
    """Send one such message up and one down."""
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
    if world.is_server:
        print(
            f"{name}: {SIZE} bytes up and down in {time.monotonic() - started:.1f} s, every byte right",
            flush=True,
        )


if __name__ == "__main__":
    if MPI.COMM_WORLD.rank == 0:
        print(library_version().splitlines()[0])
    for exchange in EXCHANGES:
        check(exchange)
