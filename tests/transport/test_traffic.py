"""`mpi_bytes` of rounds.jsonl against a library that counts the calls of MPI, preloaded into every rank."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mpirun import ROOT, mpirun

SOURCE = Path(__file__).with_name("traffic.c")
RANKS, FEW, MANY = 3, 2, 5
BROADCAST, GATHER, POINT_TO_POINT = range(3)
Traffic = list[list[tuple[int, int]]]


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix, compiler = Path(sys.prefix), shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc here")
    if not (prefix / "include/mpi.h").exists():
        pytest.skip("the MPI library beside this Python has no mpi.h")
    built = tmp_path_factory.mktemp("traffic") / "traffic.so"
    library = [f"-L{prefix / 'lib'}", "-lmpi", f"-Wl,-rpath,{prefix / 'lib'}"]
    command = [
        compiler,
        "-shared",
        "-fPIC",
        f"-I{prefix / 'include'}",
        "-o",
        str(built),
        str(SOURCE),
        *library,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return built


def train(
    shim: Path, folder: Path, exchange: str, rounds: int
) -> tuple[Traffic, list[dict[str, dict[str, int]]]]:
    """Run a job; return what each rank sent and received, by kind of call, and the records."""
    counted, out = folder / f"traffic-{rounds}", folder / f"run-{rounds}"
    counted.mkdir()
    flags = {"rounds": rounds, "exchange": exchange, "cohort": 5, "eval-every": 100, "out": out}
    program = ["-m", "fedcomloc_mpi.train", *(f"--{name}={value}" for name, value in flags.items())]
    env = {"LD_PRELOAD": str(shim), "TRAFFIC": str(counted)}
    job = mpirun(RANKS, program, timeout=100, env=env, cwd=ROOT)
    assert job.returncode == 0, job
    traffic = []
    for rank in range(RANKS):
        lines = (counted / f"rank-{rank}").read_text().splitlines()
        traffic.append([(int(sent), int(received)) for sent, received in map(str.split, lines)])
    return traffic, [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]


@pytest.mark.timeout(250)
@pytest.mark.skipif(shutil.which("mpicc") is None, reason="no mpicc on PATH")
@pytest.mark.parametrize("exchange", ["collectives", "p2p"])
def test_the_recorded_bytes_are_what_mpi_was_given(shim: Path, tmp_path: Path, exchange: str) -> None:
    """Two jobs differ only in their rounds, so that what start and end exchange cancels out."""
    few, _ = train(shim, tmp_path, exchange, FEW)
    many, records = train(shim, tmp_path, exchange, MANY)
    up = sum(record["uplink"]["mpi_bytes"] for record in records[FEW:])
    down = sum(record["downlink"]["mpi_bytes"] for record in records[FEW:])
    assert up > 0 and down > 0

    def more(ranks: range, kind: int, side: int) -> int:
        return sum(many[rank][kind][side] - few[rank][kind][side] for rank in ranks)

    server, clients, sent, received = range(1), range(1, RANKS), 0, 1
    if exchange == "collectives":
        assert more(clients, GATHER, sent) == more(server, GATHER, received) == up
        assert more(server, BROADCAST, sent) == more(clients, BROADCAST, received) == down
        assert more(range(RANKS), POINT_TO_POINT, sent) == 0
    else:
        assert more(clients, POINT_TO_POINT, sent) == more(server, POINT_TO_POINT, received) == up
        assert more(server, POINT_TO_POINT, sent) == more(clients, POINT_TO_POINT, received) == down
        assert more(range(RANKS), BROADCAST, sent) == more(range(RANKS), GATHER, sent) == 0
