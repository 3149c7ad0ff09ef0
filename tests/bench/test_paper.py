"""The series of runs: what is run, resumed and left out. Jobs are replaced by folders such as they leave."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench import curves, paper, paper_page, rows
from bench.jobs import JobFailed
from tests.reporting.folders import run_folder

GRID = """
[options]
eval_every = 2
[fedmnist]
seeds = [0, 1]
options = { rounds = 4 }
[fedmnist.runs]
"Com, density 1, 32 bits" = { density = 1.0, lr = 0.5 }
"Com, density 0.1, 32 bits" = { density = 0.1, lr = 0.5 }
[extra]
optional = true
runs.other = { density = 0.5 }
"""


class Series:
    """Runs bench.paper in a folder, and keeps what it asked jobs to do."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.jobs = folder, list[dict[str, Any]]()
        self.fails: dict[int, int] = {}  # exit code by number of the job
        self.results = folder / "results"
        (folder / "grid.toml").write_text(GRID)
        monkeypatch.setattr(paper, "train", self.train)

    def train(self, options: Mapping[str, Any], **how: Any) -> None:
        self.jobs.append(dict(options))
        if (code := self.fails.get(len(self.jobs))) is not None:
            raise JobFailed(code, ["mpirun"])
        if "resume" in options:
            config = (options["resume"] / "config.toml").read_text()
            shutil.rmtree(options["resume"])
            (run_folder(options["resume"]) / "config.toml").write_text(config)
        else:
            run_folder(options["out"], **{name: value for name, value in options.items() if name != "out"})

    def run(self, *arguments: str) -> int:
        folders = ["--results", str(self.results), "--runs", str(self.folder / "runs")]
        return paper.main(["--grid", str(self.folder / "grid.toml"), *folders, *arguments])

    def rows(self) -> list[dict[str, str]]:
        return rows.read(self.results / "runs.csv")


@pytest.fixture
def series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Series:
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    return Series(tmp_path, monkeypatch)


def test_a_row_and_a_curve_for_each_run_once(series: Series) -> None:
    assert series.run() == 0
    assert len(series.jobs) == 4
    found = series.rows()
    assert [row["seed"] for row in found] == ["0", "0", "1", "1"]
    assert found[0]["accuracy"] == "0.75"
    assert found[0]["uplink_payload_bytes"] == "10000"
    assert found[0]["commit"] == "abc1234"
    assert "--lr=0.5" in found[0]["command"]
    points = curves.read(series.results / "curves" / "fedmnist" / "com-density-1-32-bits-seed0.csv")
    assert [(point.round, point.accuracy) for point in points] == [(2, 0.5), (4, 0.75)]
    assert series.run() == 0
    assert len(series.jobs) == 4


def test_a_part_can_be_chosen(series: Series) -> None:
    assert series.run("--only", "Com, density 1, 32 bits", "--seeds", "1") == 0
    assert series.run("--part", "extra") == 0
    assert [row["name"] for row in series.rows()] == ["Com, density 1, 32 bits", "other"]
    assert series.run("--task", "1", "--of", "2") == 0
    assert [(row["name"], row["seed"]) for row in series.rows()[2:]] == [
        ("Com, density 0.1, 32 bits", s) for s in "01"
    ]


def test_other_options_are_another_run(series: Series) -> None:
    series.run("--seeds", "0")
    (series.folder / "grid.toml").write_text(
        GRID.replace("density = 1.0, lr = 0.5", "density = 1.0, lr = 0.25")
    )
    series.run("--seeds", "0")
    assert len(series.jobs) == 3
    assert (series.jobs[-1]["lr"], "out" in series.jobs[-1]) == (0.25, True)


def test_an_interrupted_run_goes_on(series: Series) -> None:
    series.run()
    (series.results / "runs.csv").unlink()
    begun = series.folder / "runs" / "fedmnist" / "com-density-1-32-bits-seed0"
    (begun / "summary.json").unlink()
    assert series.run() == 0
    # The other three had ended: their rows are made from their folders.
    assert series.jobs[4:] == [{"resume": begun}]
    assert len(series.rows()) == 4


def test_a_folder_that_cannot_be_resumed_is_run_again(series: Series) -> None:
    series.run()
    (series.results / "runs.csv").unlink()
    begun = series.folder / "runs" / "fedmnist" / "com-density-1-32-bits-seed0"
    (begun / "summary.json").unlink()
    series.fails = {5: 2}
    assert series.run() == 0
    assert [sorted(job)[-2:] for job in series.jobs[4:]] == [["resume"], ["rounds", "seed"]]


def test_a_failure_leaves_the_others_alone_and_a_signal_ends_the_series(series: Series) -> None:
    series.fails = {2: 1}
    assert series.run() == 1
    assert len(series.rows()) == 3
    (series.results / "runs.csv").unlink()
    shutil.rmtree(series.folder / "runs")
    series.fails = {6: 130}
    assert series.run() == 1
    assert len(series.jobs) == 6


def test_the_page_is_made_from_rows_and_curves(series: Series) -> None:
    arguments = ["--grid", str(series.folder / "grid.toml"), "--results", str(series.results)]
    assert paper_page.main(arguments) == 0
    page = series.results.with_suffix(".md")
    assert "No run has ended yet" in page.read_text()
    series.run("--seeds", "0")
    assert paper_page.main(arguments) == 0
    text = page.read_text()
    assert "Still to come: 2 of 4 runs (seed 1: all)" in text
    assert "| Com, density 0.1, 32 bits | 0.5 | 1 | 0.7500 |" in text
    assert "| below the uncompressed by | 3.94 % | 0.00 % |" in text
    assert "abc1234, 2026-01-02, 2 cores of a CPU, 3 ranks" in text
    assert "## extra" not in text
    series.run("--seeds", "1")
    assert paper_page.main(arguments) == 0
    assert "0.7500 (0.7500 to 0.7500)" in page.read_text()
    assert (series.results / "fedmnist.png").read_bytes().startswith(b"\x89PNG")
