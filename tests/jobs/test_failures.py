"""Whatever goes wrong on one rank ends the whole job within seconds, with a word from that rank, and leaves nothing."""

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.jobs.train_jobs import SMALL, TRAIN, Arguments, start_with_fault, train_batch
from tests.mpirun import Job, RunningJob, start

# Faults and signals come in a round that follows complete ones; without them a job would run for hours.
ENDLESS = ["--rounds", "1000000", "--eval-every", "1000000"]
ROUND = 3

# What `RunFiles` writes before the first round, checkpoints and rounds.jsonl.
STARTED = {"checkpoints", "config.toml", "environment.json", "initial.pt", "partition.npz", "rounds.jsonl"}


@pytest.fixture
def nothing_left_in_shared_memory(tmp_path: Path) -> Iterator[None]:
    """Check after a job with a fault that what its ranks had mapped has no name any more."""
    yield
    mapped = (tmp_path / "mapped.txt").read_text().splitlines()
    assert mapped  # the MPI library's own, at least
    assert [name for name in mapped if os.path.exists(name)] == []


cleans_up = pytest.mark.usefixtures("nothing_left_in_shared_memory")


def wait_until(condition: Callable[[], bool], job: RunningJob) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert job.process.poll() is None, job.output()
        assert time.monotonic() < deadline, job.output()
        time.sleep(0.02)


def rounds_of(folder: Path) -> list[int]:
    """Return the numbers of the rounds recorded; every line must be whole."""
    return [json.loads(line)["round"] for line in (folder / "rounds.jsonl").read_text().splitlines()]


def has_rounds(folder: Path) -> bool:
    return (folder / "rounds.jsonl").exists() and len(rounds_of_complete_lines(folder)) >= ROUND


def rounds_of_complete_lines(folder: Path) -> list[bytes]:
    return (folder / "rounds.jsonl").read_bytes().split(b"\n")[:-1]


def run_with_fault(ranks: int, fault: str, rank: int, folder: Path) -> Job:
    """Run a job with a fault; `wait` also checks that no process outlives mpirun."""
    with start_with_fault(ranks, fault, rank, ROUND, *ENDLESS, "--out", folder, cwd=folder.parent) as job:
        return job.wait(60)


def assert_stopped_in_round(folder: Path, last: int) -> None:
    """Only what a running job has written is there, every file of it whole."""
    assert {path.name for path in folder.iterdir()} == STARTED
    assert rounds_of(folder) == list(range(1, last + 1))


@cleans_up
@pytest.mark.parametrize("rank", [0, 2])
def test_exception(rank: int, run_folder: Path) -> None:
    job = run_with_fault(3, "raise", rank, run_folder)
    assert job.returncode == 1, job
    assert "LookupError: a fault for the test\n" in job.stderr, job
    assert f"fedcomloc_mpi.train: rank {rank} failed\n" in job.stderr, job
    assert job.stderr.count("Traceback") == 1, job
    assert_stopped_in_round(run_folder, ROUND - 1)


@cleans_up
@pytest.mark.parametrize(("fault", "code"), [("exit-0", 1), ("exit-7", 7)])
def test_exit_of_a_client(fault: str, code: int, run_folder: Path) -> None:
    job = run_with_fault(3, fault, 1, run_folder)
    assert job.returncode == code, job
    assert "SystemExit: " in job.stderr, job
    assert "fedcomloc_mpi.train: rank 1 left the job\n" in job.stderr, job
    assert_stopped_in_round(run_folder, ROUND - 1)


@cleans_up
@pytest.mark.parametrize("rank", [0, 2])
def test_killed_rank(rank: int, run_folder: Path) -> None:
    job = run_with_fault(3, "kill", rank, run_folder)
    assert job.returncode != 0, job
    process = json.loads((run_folder / "environment.json").read_text())["process_of_rank"][rank]
    server = "" if rank else ", the server"
    died = re.findall(r"^fedcomloc_mpi.train: (.*) died\n", job.stderr, re.MULTILINE)
    assert [each.split(" on ")[0] for each in died] == [f"rank {rank}{server} (process {process}"], job
    assert_stopped_in_round(run_folder, ROUND - 1)


@cleans_up
@pytest.mark.parametrize("rank", [0, 1])
def test_hung_rank(rank: int, run_folder: Path) -> None:
    flags = [*ENDLESS, "--round-timeout", "2", "--out", str(run_folder)]
    with start_with_fault(3, "stuck", rank, ROUND, *flags, cwd=run_folder.parent) as running:
        job = running.wait(60)
    assert job.returncode == 4, job
    waited = r"rank 0 waited [23] s in vain for rank 1 \(process \d+ on .*\)"
    if rank == 0:
        waited = r"rank [12] waited 1[01] s in vain for rank 0, the server \(process \d+ on .*\)"
    assert re.search(f"^fedcomloc_mpi.train: {waited}\n", job.stderr, re.MULTILINE), job
    assert "Traceback" not in job.stderr, job
    assert_stopped_in_round(run_folder, ROUND - 1)


@cleans_up
def test_full_disk(run_folder: Path) -> None:
    job = run_with_fault(2, "disk-full", 0, run_folder)
    assert job.returncode == 2, job
    assert (
        f"fedcomloc_mpi.train: rank 0: cannot write {run_folder}/rounds.jsonl: File too large\n" in job.stderr
    ), job
    assert "Traceback" not in job.stderr, job
    assert_stopped_in_round(run_folder, ROUND - 1)


def assert_interrupted(job: Job, number: int, folder: Path) -> list[int]:
    """The job has ended in order after a whole round; return the rounds."""
    assert job.returncode == 128 + number, job
    assert job.stderr == "", job
    assert "interrupted after" in job.stdout, job
    summary = json.loads((folder / "summary.json").read_text())
    rounds = rounds_of(folder)
    assert summary["status"] == "interrupted"
    assert rounds == list(range(1, summary["rounds"] + 1))
    # The last round is evaluated, whatever --eval-every says, but it is no final model.
    assert summary["last_accuracy"] is not None
    assert {path.name for path in folder.iterdir()} == STARTED | {"summary.json"}
    return rounds


@cleans_up
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_mpirun_ends_after_the_round(number: int, run_folder: Path) -> None:
    flags = [*ENDLESS, "--out", str(run_folder)]
    with start_with_fault(3, "none", 1, 1, *flags, cwd=run_folder.parent) as job:
        wait_until(lambda: has_rounds(run_folder), job)
        job.process.send_signal(number)
        assert_interrupted(job.wait(60), number, run_folder)


@cleans_up
@pytest.mark.parametrize("rank", [0, 1])
def test_signal_to_one_rank_ends_after_its_round(rank: int, run_folder: Path) -> None:
    job = run_with_fault(2, "terminate", rank, run_folder)
    assert assert_interrupted(job, signal.SIGTERM, run_folder)[-1] == ROUND


@cleans_up
def test_second_signal_ends_a_round_that_does_not_end(run_folder: Path) -> None:
    flags = [*ENDLESS, "--out", str(run_folder)]
    with start_with_fault(3, "stuck", 1, ROUND, *flags, cwd=run_folder.parent) as running:
        wait_until(lambda: "stuck" in running.output()[0], running)
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert running.process.poll() is None
        running.process.send_signal(signal.SIGTERM)
        job = running.wait(60)
    assert job.returncode == 128 + signal.SIGTERM, job
    assert_stopped_in_round(run_folder, ROUND - 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_during_start_up(number: int, run_folder: Path) -> None:
    with start(3, [*TRAIN, *SMALL, *ENDLESS, "--out", run_folder], cwd=run_folder.parent) as running:
        wait_until(lambda: len(running.processes()) >= 5, running)  # mpirun, its proxy and the ranks
        running.process.send_signal(number)
        job = running.wait(60)
    assert job.returncode != 0, job
    assert list(run_folder.parent.iterdir()) == []


def ranks_with_torch(processes: Iterable[int]) -> int:
    """How many of the processes have begun to load torch."""
    loading = 0
    for process in processes:
        with contextlib.suppress(OSError):
            loading += "libtorch" in Path(f"/proc/{process}/maps").read_text()
    return loading


@cleans_up
def test_sigusr1_during_start_up_ends_after_the_first_round(run_folder: Path) -> None:
    """MPICH would swallow it."""
    flags = [*ENDLESS, "--out", str(run_folder)]
    with start_with_fault(3, "none", 1, 1, *flags, cwd=run_folder.parent) as running:
        wait_until(lambda: ranks_with_torch(running.processes()) == 3, running)
        running.process.send_signal(signal.SIGUSR1)
        assert not run_folder.exists()
        job = running.wait(60)
    assert assert_interrupted(job, signal.SIGUSR1, run_folder) == [1]


def test_divergence(tmp_path: Path) -> None:
    densities = {"dense": "1", "sparse": "0.1"}
    common = [*SMALL, *ENDLESS, "--lr", "1e30"]
    lines: list[Arguments] = [
        [*common, "--density", density, "--out", tmp_path / name] for name, density in densities.items()
    ]
    for name, ranks in zip(densities, train_batch(3, lines, tmp_path / "results", tmp_path), strict=True):
        assert [(rank.code, rank.stderr) for rank in ranks] == [(3, "")] * 3
        assert "diverged after" in ranks[0].stdout
        folder = tmp_path / name
        assert {path.name for path in folder.iterdir()} == STARTED | {"summary.json"}
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["status"] == "diverged"
        assert "not finite" in summary["message"]
        assert rounds_of(folder) == list(range(1, summary["rounds"] + 1))
