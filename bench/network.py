"""Wall-clock time of a round on an emulated network: every rank on a host of its own, behind a link of its own.

    sudo .venv/bin/python -m bench.network --data-dir DIR

runs FedMNIST (MLP, 10 local steps, a client on each of 4 hosts, the server on a fifth) with six ways to send a model,
by both exchanges, over links of 1, 10 and 100 Mbit/s from a client and ten times that to it, without and with delay. A
row for each goes to docs/results/network/rounds.csv as it ends; what is there already is not run again, so the
command can be interrupted. `python -m bench.network_page` makes docs/results/network.md.

The clients' interfaces and the server's are read too: an independent count of the bytes. Needs root and iproute2.
"""

import argparse
import json
import math
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from bench import curves, rows
from bench.jobs import ROOT, flags, read_run, train
from bench.namespaces import Hosts, JobFailed, Link, check_possible
from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.metrics import RoundRecord

ACCURACY_ROUNDS = 300
METHODS: dict[str, dict[str, Any]] = {
    "dense": {"algorithm": "scaffnew", "reference": "off", "coders": "dense,float32"},
    "TopK": {"algorithm": "fedcomloc-com", "density": 0.1, "bits": 32, "reference": "off"},
    "8 bits": {"algorithm": "fedcomloc-com", "density": 1.0, "bits": 8, "reference": "off"},
    "dense, reference": {"algorithm": "scaffnew", "reference": "on"},
    "TopK, reference": {"algorithm": "fedcomloc-com", "density": 0.1, "bits": 32, "reference": "on"},
    "TopK, 8 bits, reference": {
        "algorithm": "fedcomloc-com",
        "density": 0.1,
        "bits": 8,
        "lattice": "shared",
        "reference": "on",
    },
}
SHORT = ("dense", "TopK", "TopK, 8 bits, reference")
SETTING = {"dataset": "mnist", "local_steps": "fixed", "p": 0.1}
COLUMNS = (
    *("exchange", "method", "up_mbit", "down_mbit", "delay_ms", "server_mbit", "ranks", "rounds"),
    *("seconds", "client_work", "server_work", "uplink_mpi", "downlink_mpi"),
    *("clients_bytes", "clients_frames", "clients_retransmitted"),
    *("server_bytes", "server_frames", "server_retransmitted", "load", "commit", "started", "cpu"),
)


@dataclass(frozen=True)
class Cell:
    """One measurement. server_mbit: of the server's link in both directions, 0: unlimited; delay_ms: each way."""

    exchange: str
    method: str
    up_mbit: float
    down_mbit: float
    delay_ms: float
    server_mbit: float
    ranks: int

    @property
    def counted(self) -> int:
        """Rounds that count: fewer on the slowest links, whose rounds differ little."""
        return 20 if self.up_mbit >= 10 else 4

    @property
    def warm_up(self) -> int:
        """Rounds before them: coded messages take some rounds to get to the size that they keep."""
        return 2 if self.method == "dense" else 10

    def links(self) -> list[Link]:
        """Return the link of each host."""
        server = self.server_mbit or None
        client = Link(self.up_mbit, self.down_mbit, self.delay_ms / 1e3)
        return [Link(server, server), *(self.ranks - 1) * [client]]


def cells(ranks: int) -> Iterator[Cell]:
    """Yield what is measured, the most important first."""
    exchanges, widths = ("p2p", "collectives"), (100, 10, 1)
    others = [method for method in METHODS if method not in SHORT]
    for exchange, up, method in product(exchanges, widths, SHORT):
        yield Cell(exchange, method, up, 10 * up, 0, 0, ranks)
    for up, method in product(widths, others):
        yield Cell("p2p", method, up, 10 * up, 0, 0, ranks)
    for exchange, up, method in product(exchanges, widths[:2], SHORT):
        yield Cell(exchange, method, up, 10 * up, 25, 0, ranks)
    for method in SHORT:  # where the server's link is what limits
        yield Cell("p2p", method, 10, 100, 0, 10, ranks)


def main() -> int:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.network",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data-dir", required=True, type=os.path.abspath, help="folder with MNIST")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results" / "network")
    parser.add_argument("--ranks", type=int, default=5, help="hosts: the server's and a client's each")
    parser.add_argument("--only", default="", metavar="TEXT", help="cells whose description holds TEXT")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the network is removed first
    try:
        check_possible()
        for cell in cells(chosen.ranks):
            shown = ", ".join(f"{name} {value}" for name, value in asdict(cell).items())
            if chosen.only not in shown or rows.find(chosen.results / "rounds.csv", asdict(cell)):
                continue
            row = measure(cell, chosen.data_dir)
            rows.append(chosen.results / "rounds.csv", COLUMNS, [row])
            print(f"{row['seconds']:>8} s a round: {shown}", flush=True)
        for method in METHODS:
            curve = chosen.results / curve_name(method)
            if not curve.exists() and chosen.only in f"accuracy of {method}":
                learn(method, chosen.data_dir, chosen.ranks, curve)
    except (UserError, JobFailed) as error:
        print(f"bench.network: {error}", file=sys.stderr)
        return 2
    return 0


def measure(cell: Cell, data_dir: str) -> dict[str, Any]:
    """Run one job on its network; return its row."""
    rounds = cell.warm_up + cell.counted + 1
    with tempfile.TemporaryDirectory(prefix="network-") as name:
        folder = Path(name)
        options = job(cell.method, cell.ranks) | {
            "exchange": cell.exchange,
            "rounds": rounds,
            "eval_every": rounds,
            "checkpoint_every": rounds,
            "data_dir": data_dir,
            "out": f"{folder}/run",
        }
        rank = [sys.executable, "-m", "bench.network_rank", str(folder), str(cell.warm_up)]
        with Hosts(folder, cell.links()) as hosts:
            log = Path(tempfile.gettempdir(), "network-job.log")  # stays, for who has to read it
            hosts.mpirun(
                [*rank, *flags(options)], environment={"PYTHONPATH": str(ROOT)}, timeout=900, log=log
            )
        run = read_run(folder / "run")
        sent = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(cell.ranks)]
    counted = run.records[cell.warm_up : cell.warm_up + cell.counted]
    clients = {name: sum(host[name] for host in sent[1:]) for name in sent[0]}
    return {
        **asdict(cell),
        "rounds": len(counted),
        "seconds": figure(median(seconds(record) for record in counted)),
        "client_work": figure(median(client_work(record) for record in counted)),
        "server_work": figure(median(server_work(record) for record in counted)),
        "uplink_mpi": sum(record.uplink.mpi_bytes for record in counted),
        "downlink_mpi": sum(record.downlink.mpi_bytes for record in counted),
        **{f"clients_{name}": value for name, value in clients.items()},
        **{f"server_{name}": value for name, value in sent[0].items()},
        "load": f"{os.getloadavg()[0]:.1f}",
        **run.source(),
    }


def job(method: str, ranks: int) -> dict[str, Any]:
    """Return the options that all runs of a method share: a client on each rank but the server's."""
    return SETTING | METHODS[method] | {"clients": ranks - 1, "cohort": ranks - 1}


def seconds(record: RoundRecord) -> float:
    """Return the length of a round without evaluation and checkpoint."""
    return record.seconds - record.server_seconds["evaluate"] - record.server_seconds["checkpoint"]


def client_work(record: RoundRecord) -> float:
    """Return what the slowest client computed: local steps and coding."""
    return math.fsum(value.max for part, value in record.client_seconds.items() if part != "wait")


def server_work(record: RoundRecord) -> float:
    """Return what the server computed: coding, averaging and the rest."""
    return math.fsum(record.server_seconds[part] for part in ("encode", "decode", "aggregate", "other"))


def learn(method: str, data_dir: str, ranks: int, curve: Path) -> None:
    """Write a method's accuracy over rounds: the same on any network, so measured without one."""
    with tempfile.TemporaryDirectory() as folder:
        options = job(method, ranks) | {
            "exchange": "p2p",
            "rounds": ACCURACY_ROUNDS,
            "eval_every": 5,
            "data_dir": data_dir,
            "out": f"{folder}/run",
        }
        train(options, ranks=3, quiet=True)
        curve.parent.mkdir(parents=True, exist_ok=True)
        curves.write(curve, read_run(Path(folder, "run")).curve)
    print(f"accuracy over rounds: {curve}", flush=True)


def curve_name(method: str) -> str:
    """Return the name of the file with a method's accuracy over rounds."""
    return f"accuracy-{method.replace(', ', '-').replace(' ', '-').lower()}.csv"


def figure(value: float) -> str:
    """Return a duration with five digits."""
    return f"{value:.5g}"


if __name__ == "__main__":
    sys.exit(main())
