"""One job in this project and in its peers, side by side: seconds and bytes of a round.

    python -m bench.peers.run --data-dir DIR [--venvs DIR] [--only NAME...]

FedMNIST: the MLP 784-200-200-10 (199 210 parameters), 100 clients by one partition.npz, a cohort of 10, 10 local steps
of 64 samples, learning rate 0.05, FedAvg in float32; and FedComLoc. Each peer gets a virtual environment of its own,
made from bench/peers/<name>.txt in --venvs (by default in the user's cache) when it is first run.

Every configuration runs --repeats times, in turn, so that another load on the machine meets all alike. Each process
has one thread. Bytes are counted at one place for all, the kernel's loopback interface: one more run of each, in a
network namespace of its own and with TCP for everything (needs root, or users' own namespaces).

A row for each run goes to docs/results/peers.csv as it ends; docs/results/peers.md is made from the file.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench import rows
from bench.jobs import ROOT
from bench.peers.job import CLIENTS, SEED
from bench.peers.page import document
from fedcomloc_mpi.data import load, partition, save_partition
from fedcomloc_mpi.errors import UserError

HERE = Path(__file__).resolve().parent
WARM_UP, COUNTED = 5, 25
LIMIT = 600  # seconds for a run
# UCX does not take the loopback interface. What is sent to the address of another passes through loopback, too.
NETWORK = (
    "ip link set lo up && ip link add eth0 type veth peer name eth1 && ip address add 10.78.0.1/24 dev eth0"
    ' && ip link set eth1 up && ip link set eth0 up && exec "$@"'
)
OURS_DENSE = ("--algorithm=fedavg", "--reference=off", "--coders=dense,float32")  # what all others send
OURS_CODED = ("--algorithm=fedavg",)
OURS_COMPRESSED = ("--algorithm=fedcomloc-com", "--density=0.1", "--bits=8", "--lattice=shared")
COLUMNS = (
    *("name", "processes", "kind", "seconds", "bytes", "accuracy", "rounds", "load"),
    *("version", "commit", "started", "cpu", "cpus"),
)


class PeerFailed(Exception):
    """A peer's job ended without a result."""


@dataclass(frozen=True)
class Entrant:
    """A system in a configuration.

    venv: the name of its requirements, empty: this environment. launcher: mpirun, torchrun or nothing. options: what
    the driver is told beside the job.
    """

    name: str
    venv: str
    processes: int
    launcher: str
    driver: str
    options: tuple[str, ...] = ()

    def command(self, venvs: Path, folder: Path, rounds: int) -> list[str]:
        """Return the command that runs the job."""
        bin_folder = venvs / self.venv / "bin" if self.venv else Path(sys.executable).parent
        job = [str(folder), str(rounds), *self.options]
        if self.launcher == "mpirun":
            launcher = [str(bin_folder / "mpirun"), "-n", str(self.processes), str(bin_folder / "python")]
        elif self.launcher == "torchrun":
            torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={self.processes}"]
            launcher = [str(bin_folder / "python"), *torchrun]
            job.append(str(free_port()))
        else:
            launcher = [str(bin_folder / "python")]
        module = ["-m", f"bench.peers.{self.driver}"]
        return [*launcher, *module, *job]


ENTRANTS = (
    Entrant("bare torch loop", "", 1, "", "torch_loop"),
    Entrant("this, FedAvg", "", 3, "mpirun", "ours", OURS_DENSE),
    Entrant("this, FedAvg, p2p", "", 3, "mpirun", "ours", (*OURS_DENSE, "--exchange=p2p")),
    Entrant("this, FedAvg coded, p2p", "", 3, "mpirun", "ours", (*OURS_CODED, "--exchange=p2p")),
    Entrant("this, FedComLoc", "", 3, "mpirun", "ours", OURS_COMPRESSED),
    Entrant("this, FedComLoc, p2p", "", 3, "mpirun", "ours", (*OURS_COMPRESSED, "--exchange=p2p")),
    Entrant("this, FedAvg", "", 11, "mpirun", "ours", OURS_DENSE),
    Entrant("this, FedAvg, p2p", "", 11, "mpirun", "ours", (*OURS_DENSE, "--exchange=p2p")),
    Entrant("this, FedAvg coded, p2p", "", 11, "mpirun", "ours", (*OURS_CODED, "--exchange=p2p")),
    Entrant("this, FedComLoc", "", 11, "mpirun", "ours", OURS_COMPRESSED),
    Entrant("this, FedComLoc, p2p", "", 11, "mpirun", "ours", (*OURS_COMPRESSED, "--exchange=p2p")),
    Entrant("FedLab", "fedlab", 3, "torchrun", "fedlab_driver"),
    Entrant("FedLab", "fedlab", 11, "torchrun", "fedlab_driver"),
    Entrant("pfl", "pfl", 1, "", "pfl_driver"),
    Entrant("pfl", "pfl", 2, "torchrun", "pfl_driver"),
    Entrant("pfl", "pfl", 10, "torchrun", "pfl_driver"),
    Entrant("APPFL", "appfl", 3, "mpirun", "appfl_driver"),
    Entrant("APPFL", "appfl", 11, "mpirun", "appfl_driver"),
    # The server, and so many workers.
    Entrant("Flower", "flwr", 3, "", "flower_driver", ("2",)),
    Entrant("Flower", "flwr", 11, "", "flower_driver", ("10",)),
)


def main() -> int:
    """Run every entrant; write rows and page."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data-dir", required=True, type=os.path.abspath, help="folder with MNIST")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "fedcomloc-peers")
    parser.add_argument("--venvs", type=Path, default=cache, help="folder for the peers' environments")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results" / "peers.csv")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each configuration")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="systems whose names begin so")
    parser.add_argument(
        "--page-only", action="store_true", help="write the page from the rows that are there"
    )
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends the job that runs, too
    try:
        if not chosen.page_only:
            compare(chosen)
    except UserError as error:
        print(f"bench.peers.run: {error}", file=sys.stderr)
        return 2
    page = chosen.results.with_suffix(".md")
    page.write_text(document(rows.read(chosen.results), chosen.results.name), encoding="utf-8")
    print(f"written: {page}")
    return 0


def compare(chosen: argparse.Namespace) -> None:
    """Run what is asked for, in turn, after every environment has been made."""
    wanted = [
        entrant
        for entrant in ENTRANTS
        if not chosen.only or entrant.name.startswith(tuple(chosen.only)) or entrant.venv in chosen.only
    ]
    for venv in sorted({entrant.venv for entrant in wanted} - {""}):
        prepare(venv, chosen.venvs)
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        folder = Path(name)
        fill(folder, chosen.data_dir)
        for kind in ["bytes", *chosen.repeats * ["seconds"]]:
            for entrant in wanted:
                try:
                    row = measure(entrant, kind, chosen.venvs, folder, chosen.data_dir)
                except PeerFailed as error:
                    print(f"{entrant.name}, {entrant.processes} processes: {error}", file=sys.stderr)
                    continue
                rows.append(chosen.results, COLUMNS, [row])
                shown = {"seconds": f"{row['seconds']} s", "bytes": f"{row['bytes']} bytes"}[kind]
                print(f"{entrant.name}, {entrant.processes} processes: {shown} a round", flush=True)


def prepare(venv: str, venvs: Path) -> None:
    """Make a peer's environment, unless it is there."""
    folder, requirements = venvs / venv, HERE / f"{venv}.txt"
    stamp = folder / ".installed"
    if stamp.exists() and stamp.read_text() == requirements.read_text():
        return
    print(f"installing {requirements.name} into {folder}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, "--requirement", str(requirements)], check=True)
    stamp.write_text(requirements.read_text())


def fill(folder: Path, data_dir: str) -> None:
    """Write the data and the partition that all systems train on."""
    data = load("mnist", data_dir)
    for name in ("train_inputs", "train_labels", "test_inputs", "test_labels"):
        array = getattr(data, name)
        np.save(folder / f"{name}.npy", array.reshape(len(array), -1) if name.endswith("inputs") else array)
    parts = partition(data.train_labels, "dirichlet", CLIENTS, seed=SEED)  # as this project's runs do it
    save_partition(folder / "partition.npz", parts)


def measure(entrant: Entrant, kind: str, venvs: Path, folder: Path, data_dir: str) -> dict[str, Any]:
    """Run a job once; return its row."""
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    shutil.rmtree(folder / "run", ignore_errors=True)
    command = entrant.command(venvs, folder, WARM_UP + COUNTED)
    if entrant.driver == "ours":
        command.append(f"--data-dir={data_dir}")
    extra = {}
    if kind == "bytes":
        alone = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
        command = [*alone, "bash", "-c", NETWORK, "bash", *command]
        extra = {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "eth0", "MPIR_CVAR_NOLOCAL": "1"}
    log = Path(tempfile.gettempdir(), "peers-job.log")
    started = datetime.now(UTC)
    code = run_alone(command, environment(extra), log)
    if code or not result.exists():
        raise PeerFailed(f"exit code {code}, see {log}")
    found = json.loads(result.read_text())
    counted = slice(WARM_UP, WARM_UP + COUNTED)
    assert len(found["seconds"]) == WARM_UP + COUNTED, "a driver's clock has not ticked once a round"
    return {
        "name": entrant.name,
        "processes": entrant.processes,
        "kind": kind,
        "seconds": f"{median(found['seconds'][counted]):.5f}" if kind == "seconds" else "",
        "bytes": round(sum(found["bytes"][counted]) / COUNTED) if kind == "bytes" else "",
        "accuracy": f"{found['accuracy']:.4f}",
        "rounds": COUNTED,
        "load": f"{os.getloadavg()[0]:.1f}",
        "version": version(entrant.venv),
        "commit": commit(),
        "started": f"{started:%Y-%m-%dT%H:%M:%SZ}",
        "cpu": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
    }


def run_alone(command: list[str], variables: dict[str, str], log: Path) -> int:
    """Run a command in a session of its own, of which nothing is left afterwards; return its exit code."""
    with log.open("wb") as output:
        job = subprocess.Popen(
            command, env=variables, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            return job.wait(LIMIT)
        except subprocess.TimeoutExpired:
            raise PeerFailed(f"no end after {LIMIT} s, see {log}") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)
            job.wait()


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return what every process gets: one thread, the CPU, and this folder to import drivers from."""
    common = {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PFL_PYTORCH_DEVICE": "cpu",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    return {**os.environ, **common, **(extra or {})}


def version(venv: str) -> str:
    """Return the version of a peer, as its requirements pin it."""
    lines = (HERE / f"{venv}.txt").read_text().splitlines() if venv else []
    return next((line for line in lines if line.lower().startswith(f"{venv}==")), "")


@cache
def commit() -> str:
    """Return the source version of this project, as it was before the first row made the checkout another."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
