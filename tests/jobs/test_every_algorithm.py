"""What every method's jobs do beside training: notice a divergence, and go on where they were cut."""

import json
from pathlib import Path

import pytest

from fedcomloc_mpi.algorithms import ALGORITHMS
from tests.jobs.train_jobs import RankResult, train_batch

OPTIONS: dict[str, list[str]] = {
    "fedcomloc-local": ["--density", "0.5", "--bits", "4"],
    "fedcomloc-global": ["--density", "0.3", "--server-step", "0.8"],
    "scaffold": ["--server-step", "0.7", "--weighting", "samples"],
    "feddyn": ["--lr-schedule", "cosine", "--lr-decay-rounds", "4", "--weight-decay", "0.01"],
}
COMMON = ["--dataset", "synthetic", "--clients", "6", "--cohort", "4", "--p", "0.5"]

pytestmark = pytest.mark.timeout(200)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[str, str], list[RankResult]]]:
    """Run everything in one mpirun; return the folder of the runs, and results by (method, what was run)."""
    folder = tmp_path_factory.mktemp("every algorithm")
    lines: dict[tuple[str, str], list[str | Path]] = {}
    for name in ALGORITHMS:
        method = [*COMMON, "--algorithm", name, *OPTIONS.get(name, [])]
        far = ["--lr", "1e30", "--weight-decay", "1", "--rounds", "5"]
        lines[name, "diverged"] = [*method, *far, "--out", folder / f"{name} diverged"]
        together = folder / f"{name} diverged together"
        lines[name, "diverged together"] = [*method, *far, "--client-batch", "2", "--out", together]
        lines[name, "whole"] = [*method, "--rounds", "6", "--out", folder / f"{name} whole"]
        lines[name, "cut"] = [*method, "--rounds", "3", "--out", folder / f"{name} cut"]
        lines[name, "resumed"] = ["--resume", folder / f"{name} cut", "--rounds", "6"]
    results = train_batch(3, list(lines.values()), folder / "results", folder)
    return folder, dict(zip(lines, results, strict=True))


Jobs = tuple[Path, dict[tuple[str, str], list[RankResult]]]


@pytest.mark.parametrize("how", ["diverged", "diverged together"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_divergence_is_noticed(jobs: Jobs, name: str, how: str) -> None:
    folder, results = jobs
    assert [rank.code for rank in results[name, how]] == [3] * 3, results[name, how]
    run = folder / f"{name} {how}"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "diverged" and "not finite" in summary["message"]
    assert not (run / "final.pt").exists()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_resumed_run_is_the_whole_one(jobs: Jobs, name: str) -> None:
    folder, results = jobs
    for what in ("whole", "cut", "resumed"):
        assert [rank.code for rank in results[name, what]] == [0] * 3, results[name, what]
    whole, cut = folder / f"{name} whole", folder / f"{name} cut"
    records = []
    for run in (whole, cut):
        records.append([json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()])
        for record in records[-1]:
            # An evaluation belongs to the last round of each run; it changes nothing.
            for measured in ("seconds", "test_loss", "test_accuracy", "test_accuracy_compressed"):
                del record[measured]
    assert len(records[0]) == 6
    assert records[0] == records[1]
    names = {path.name for path in whole.glob("*.pt")}
    assert names == {path.name for path in cut.glob("*.pt")}
    for model in names:
        assert (whole / model).read_bytes() == (cut / model).read_bytes(), model
