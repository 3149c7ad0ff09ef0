"""Latency and bandwidth of the exchanges between the server and the clients, by message size and number of ranks.

    python -m bench.collectives --csv docs/results/collectives.csv

Each client rank sends one message and the server broadcasts one, as in a round in which nothing is computed. Three
kinds of rounds are timed on the server's clock: with empty messages both ways (the latency), with S bytes from each
client, and with S bytes to all. Bandwidth is what all ranks receive in the time of a round, its latency included. CPU
is that of all ranks.
"""

import argparse
import json
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median

from bench import rows
from bench.jobs import environment_of_jobs
from fedcomloc_mpi.metrics.environment import cpu_model, source_version

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
WARM_UP = 3
COLUMNS = ("exchange", "ranks", "direction", "bytes", "rounds", "ms", "cpu_ms", "MB_per_s", "commit", "cpu")


def main() -> None:
    """Time every exchange with every number of ranks; print a row for each size and direction."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.collectives",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 3, 5, 11])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="bytes of a message")
    parser.add_argument("--rounds", type=int, default=30, help="timed rounds; their median counts")
    parser.add_argument("--quick", action="store_true", help="3 ranks, up to 1 MB, 10 rounds")
    parser.add_argument("--csv", type=Path, help="append the rows to this file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.ranks, chosen.sizes, chosen.rounds = [3], list(SIZES[:4]), 10
    if chosen.worker:
        work(chosen.worker, chosen.sizes, chosen.rounds)
        return
    print(f"{'exchange':>12} {'ranks':>5} {'':>4} {'bytes':>10} {'ms':>9} {'CPU ms':>9} {'MB/s':>8}")
    for ranks in chosen.ranks:
        for exchange in ("collectives", "p2p"):
            made = {"commit": source_version(), "cpu": cpu_model()}
            measured = [row | made for row in measure(exchange, ranks, chosen.sizes, chosen.rounds)]
            for row in measured:
                speed = "" if row["MB_per_s"] is None else f"{row['MB_per_s']:.1f}"
                print(
                    f"{exchange:>12} {ranks:>5} {row['direction']:>4} {row['bytes']:>10} {row['ms']:>9.3f}"
                    f" {row['cpu_ms']:>9.3f} {speed:>8}",
                    flush=True,
                )
            if chosen.csv:
                rows.append(chosen.csv, COLUMNS, measured)


def measure(exchange: str, ranks: int, sizes: list[int], rounds: int) -> list[dict[str, object]]:
    """Run one job; return its rows, the latency first."""
    command = ["mpirun", "-n", str(ranks), sys.executable, "-m", "bench.collectives", "--worker", exchange]
    command += ["--rounds", str(rounds), "--sizes", *map(str, sizes)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment_of_jobs())
    found: list[dict[str, object]] = json.loads(done.stdout)
    for row in found:
        size = int(str(row["bytes"]))
        row |= {"exchange": exchange, "ranks": ranks, "rounds": rounds}
        row["MB_per_s"] = round(size * (ranks - 1) / float(str(row["ms"])) / 1e3, 2) if size else None
    return found


def work(name: str, sizes: list[int], rounds: int) -> None:
    """Be one rank; rank 0 prints the figures as JSON."""
    import numpy as np
    from mpi4py import MPI

    from fedcomloc_mpi.transport.exchange import Command, Downlink, Exchange
    from fedcomloc_mpi.transport.registry import EXCHANGES
    from fedcomloc_mpi.transport.report import RankReport
    from fedcomloc_mpi.transport.watchdog import Watchdog
    from fedcomloc_mpi.transport.world import open_world

    world = open_world(MPI.COMM_WORLD)
    exchange: Exchange = EXCHANGES[name](world, Watchdog(world, None), 0, world.size, 1, 1, max(sizes))
    message = np.random.default_rng(world.comm.rank).integers(0, 256, max(sizes), dtype=np.uint8)
    clients = [0] + [1] * (world.size - 1)
    speeds = np.ones(world.size, dtype=np.int64)

    def one_round(up: int, down: int) -> None:
        if world.is_server:
            for _ in exchange.arrivals(clients, nullcontext()):
                pass
            exchange.send_downlink(Downlink(Command.CONTINUE, [message[:down]], speeds))
        else:
            report = RankReport(0, np.zeros(0), np.zeros(1), np.array([[up]]))
            exchange.send_uplink(report, [message[:up]])
            exchange.receive_downlink()

    found = []
    for direction, up, down in [("", 0, 0), *(("up", s, 0) for s in sizes), *(("down", 0, s) for s in sizes)]:
        for _ in range(WARM_UP):
            one_round(up, down)
        seconds, cpu = [], -time.process_time()
        for _ in range(rounds):
            start = time.perf_counter()
            one_round(up, down)
            seconds.append(time.perf_counter() - start)
        cpu = MPI.COMM_WORLD.allreduce(cpu + time.process_time()) / rounds
        figures = {"direction": direction, "bytes": up + down}
        found.append(figures | {"ms": round(1e3 * median(seconds), 4), "cpu_ms": round(1e3 * cpu, 4)})
    if world.is_server:
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
