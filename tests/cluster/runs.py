"""The training run that the cluster tests repeat in many ways, and how its results are compared."""

import json
from pathlib import Path
from typing import Any

from tests.mpirun import mpirun

# Rounds of some 50 ms, many enough to be interrupted among them.
ROUNDS = 150
SETTINGS = ["--clients", "20", "--cohort", "10", "--p", "0.1", "--eval-every", "10", "--seed", "5"]
SHORT = [*SETTINGS, "--rounds", "24", "--checkpoint-every", "5"]
REFERENCE = [*SETTINGS, "--rounds", str(ROUNDS), "--checkpoint-every", "10"]


def train_here(ranks: int, *flags: str | Path, cwd: Path) -> None:
    """Run a training job with this Python's own MPI, on this host."""
    job = mpirun(ranks, ["-m", "fedcomloc_mpi.train", *flags], cwd=cwd, timeout=250)
    assert job.returncode == 0, job


def records(folder: Path) -> list[dict[str, Any]]:
    """The records of a run without what depends on time, on the number of ranks and on which of them were lost."""
    found = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    for record in found:
        del record["seconds"], record["uplink"]["mpi_bytes"], record["downlink"]["mpi_bytes"]
        record.pop("lost_ranks", None)
    return found


def rounds_done(folder: Path) -> int:
    """How many rounds a run has recorded so far."""
    path = folder / "rounds.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def read_json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def assert_same(folder: Path, other: Path) -> None:
    """Assert that two finished runs have the same records and models, bit by bit."""
    assert records(folder) == records(other)
    names = {"initial.pt", "final.pt", "partition.npz"}
    if (other / "final_compressed.pt").exists():  # methods without a compressor leave none
        names.add("final_compressed.pt")
    for name in names:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    for each in (folder, other):
        assert read_json(each / "summary.json")["status"] == "finished"


def output_of(folder: Path, job: int) -> str:
    """What a batch job that was submitted in `folder` has printed."""
    return "\n".join(path.read_text() for path in folder.glob(f"*-{job}.out"))
