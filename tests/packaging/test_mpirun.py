"""The helper that starts jobs: it must report what happened, and leave nothing behind."""

import os
import signal
import time

import pytest

from tests.mpirun import JobTimeout, clean_environment, mpirun, start

# One write a rank: print's newline is another one, and those of several ranks may mix.
PRINT_RANK = """
import sys
from mpi4py import MPI
sys.stdout.write(f"rank {MPI.COMM_WORLD.rank} of {MPI.COMM_WORLD.size}\\n")
sys.stdout.flush()
"""


@pytest.mark.parametrize("ranks", [1, 3])
def test_runs_source_on_all_ranks(ranks: int) -> None:
    job = mpirun(ranks, PRINT_RANK)
    assert job.returncode == 0, job
    assert sorted(job.stdout.splitlines()) == [f"rank {rank} of {ranks}" for rank in range(ranks)]


def test_runs_arguments_in_a_folder_with_spaces(tmp_path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "a program.py").write_text(PRINT_RANK)
    job = mpirun(2, ["a program.py"], cwd=folder, env={"FEDCOMLOC_UNUSED": "1"})
    assert job.returncode == 0, job
    assert len(job.stdout.splitlines()) == 2


def test_imports_the_checkout_from_any_folder(tmp_path) -> None:
    job = mpirun(1, "import fedcomloc_mpi; print(fedcomloc_mpi.__file__)", cwd=tmp_path)
    expected = os.path.join(os.path.dirname(__file__), "..", "..", "fedcomloc_mpi", "__init__.py")
    assert os.path.samefile(job.stdout.strip(), expected)


def test_exception_on_one_rank_ends_the_job() -> None:
    source = (
        "from mpi4py import MPI\nassert MPI.COMM_WORLD.rank != 1, 'rank 1 fails'\nMPI.COMM_WORLD.Barrier()"
    )
    job = mpirun(3, source)
    assert job.returncode != 0
    assert "rank 1 fails" in job.stderr


def test_time_out_kills_every_process_and_shows_the_output() -> None:
    source = PRINT_RANK + "\nimport time\ntime.sleep(600)"
    with start(3, source) as job:
        with pytest.raises(JobTimeout, match="rank 0 of 3"):
            job.wait(5)
        assert job.processes() == {}


def test_leaving_the_block_kills_every_process() -> None:
    with start(2, "import time; time.sleep(600)") as job:
        deadline = time.monotonic() + 30
        while len(job.processes()) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert job.processes() == {}


def test_signals_reach_the_job() -> None:
    with start(2, "print('up', flush=True)\nimport time\ntime.sleep(600)") as job:
        deadline = time.monotonic() + 30
        while job.output()[0].count("up") < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        job.process.send_signal(signal.SIGTERM)
        assert job.wait(30).returncode != 0


def test_environment_of_an_outer_launcher_is_not_passed_on(monkeypatch) -> None:
    for name in ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_ALLOW_RUN_AS_ROOT"):
        monkeypatch.setenv(name, "1")
    kept = clean_environment({"OWN": "2"})
    assert not {"PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE"} & kept.keys()
    assert kept["OMPI_ALLOW_RUN_AS_ROOT"] == "1"
    assert kept["OWN"] == "2"
