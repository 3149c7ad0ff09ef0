"""launch/job.sh with launchers that only write down how they were called."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mpirun import ROOT

STUB = """#!/usr/bin/env bash
printf '%s\\n' "$0" "$@" >"$CALLED"
trap 'echo USR1 >>"$SIGNALS"; save; exit 138' USR1
trap 'echo TERM >>"$SIGNALS"; exit 143' TERM
save() { [ -z "${SAVES:-}" ] || { mkdir -p "$SAVES/checkpoints"; touch "$SAVES/checkpoints/round-00000009.state"; }; }
touch "$STARTED"
if [ -n "${LINGERS:-}" ]; then for _ in {1..300}; do sleep 0.05; done; fi
save
exit "${CODE:-0}"
"""
SCONTROL = """#!/usr/bin/env bash
printf '%s\\n' "$*" >"$REQUEUED"
"""


class Desk:
    """A folder to start jobs in, with stubs of the launchers and of scontrol."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = folder / "bin"
        programs.mkdir()
        for name in ("mpirun", "srun"):
            (programs / name).write_text(STUB)
        (programs / "scontrol").write_text(SCONTROL)
        for program in programs.iterdir():
            program.chmod(0o755)
        self.called, self.requeued = folder / "called", folder / "requeued"
        self.signals, self.started = folder / "signals", folder / "started"
        files = {
            "CALLED": self.called,
            "REQUEUED": self.requeued,
            "SIGNALS": self.signals,
            "STARTED": self.started,
        }
        self.environment = {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            **{name: str(path) for name, path in files.items()},
        }

    def start(self, *flags: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", str(ROOT / "launch/job.sh"), *flags],
            cwd=self.folder,
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *flags: str, **variables: str) -> tuple[int, str]:
        """Return the exit code, and all that was printed."""
        job = self.start(*flags, **variables)
        out, err = job.communicate(timeout=30)
        return job.returncode, out + err

    def command(self) -> list[str]:
        """What was started: the launcher's name, then its arguments."""
        program, *arguments = self.called.read_text().splitlines()
        return [Path(program).name, *arguments]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def within(seconds: float, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


TRAIN = ["python", "-m", "fedcomloc_mpi.train"]


@pytest.mark.parametrize(
    ("mpi", "launch", "launcher"),
    [
        ("mpich", "mpirun", ["mpirun", "-n", "4"]),
        ("impi", "mpirun", ["mpirun", "-n", "4"]),
        ("openmpi", "mpirun", ["mpirun", "-n", "4", "--map-by", "node"]),
        ("mpich", "srun", ["srun", "--ntasks=4", "--cpus-per-task=2", "--mpi=pmi2"]),
        ("openmpi", "srun", ["srun", "--ntasks=4", "--cpus-per-task=2", "--mpi=pmix"]),
    ],
)
def test_launchers(desk: Desk, mpi: str, launch: str, launcher: list[str]) -> None:
    code, _ = desk.run(
        "--seed",
        "3",
        MPI=mpi,
        LAUNCH=launch,
        SLURM_NTASKS="4",
        SLURM_CPUS_PER_TASK="2",
        OUT="a run",
        WRAP="env A=1",
    )
    assert code == 0
    flags = ["--out", "a run", "--threads", "1", "--seed", "3"]
    assert desk.command() == [*launcher, "env", "A=1", *TRAIN, *flags]


@pytest.mark.parametrize(("mpi", "flag"), [("mpich", "-f"), ("openmpi", "--hostfile")])
def test_hosts_and_more_flags(desk: Desk, mpi: str, flag: str) -> None:
    desk.run(RANKS="2", MPI=mpi, OUT="run", HOSTS="hosts", LAUNCH_FLAGS="--one --two", THREADS="3")
    *_, host_flag, hosts, one, two = desk.command()[: desk.command().index("python")]
    assert (host_flag, hosts, one, two) == (flag, "hosts", "--one", "--two")
    assert desk.command()[-2:] == ["--threads", "3"]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SLURM_JOB_ID": "7"}, "runs/job-7"),
        ({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}, "runs/job-7-2"),
        ({"PBS_JOBID": "7.head"}, "runs/job-7.head"),
    ],
)
def test_the_folder_has_the_number_of_the_job(desk: Desk, variables: dict[str, str], expected: str) -> None:
    assert desk.run(RANKS="2", **variables)[0] == 0
    assert desk.command()[desk.command().index("--out") + 1] == expected
    assert (desk.folder / "runs").is_dir()


def test_a_run_that_is_there_goes_on(desk: Desk) -> None:
    run = desk.folder / "run"
    run.mkdir()
    (run / "config.toml").touch()
    desk.run("--seed", "3", RANKS="2", OUT="run")
    assert "--out" in desk.command()  # an empty file is none: nothing had begun
    (run / "config.toml").write_text("seed = 3\n")
    code, said = desk.run("--seed", "3", RANKS="2", OUT="run")
    assert code == 0 and "with its own settings, not with those given here" in said
    assert desk.command() == ["mpirun", "-n", "2", *TRAIN, "--resume", "run"]


@pytest.mark.parametrize(
    ("flags", "variables", "said"),
    [
        (["--out", "x"], {"RANKS": "2", "OUT": "run"}, "--out: name the run's folder by OUT"),
        (["--seed", "1", "--out=x"], {"RANKS": "2", "OUT": "run"}, "--out=x: name the run's folder by OUT"),
        (["--resume", "x"], {"RANKS": "2", "OUT": "run"}, "--resume: name the run's folder by OUT"),
        (["--resume=x"], {"RANKS": "2", "OUT": "run"}, "--resume=x: name the run's folder by OUT"),
        ([], {"OUT": "run"}, "set RANKS, or give the allocation --ntasks"),
        ([], {"RANKS": "2"}, "not in a batch job: set OUT"),
        ([], {"RANKS": "2", "OUT": "run", "MPI": "lam"}, "MPI must be mpich, openmpi or impi"),
        ([], {"RANKS": "2", "OUT": "run", "LAUNCH": "ssh"}, "LAUNCH mpirun or srun"),
        ([], {"RANKS": "2", "OUT": "run", "MPI": "impi", "LAUNCH": "srun"}, "needs I_MPI_PMI_LIBRARY"),
    ],
)
def test_refused(desk: Desk, flags: list[str], variables: dict[str, str], said: str) -> None:
    code, printed = desk.run(*flags, **variables)
    assert code == 2 and said in printed and printed.count("\n") == 1
    assert not desk.called.exists() and not (desk.folder / "run").exists()


def test_a_module_that_is_not_there_is_named(desk: Desk) -> None:
    (desk.folder / "bin" / "module").write_text("#!/bin/sh\necho no such module >&2\nexit 1\n")
    (desk.folder / "bin" / "module").chmod(0o755)
    code, printed = desk.run(RANKS="2", OUT="run", MODULES="gcc openmpi")
    assert code == 2 and "module load gcc openmpi failed" in printed
    assert not desk.called.exists()


def test_the_exit_code_is_the_job_s(desk: Desk) -> None:
    assert desk.run(RANKS="2", SLURM_JOB_ID="7", CODE="3")[0] == 3
    assert not desk.requeued.exists()


def test_a_job_that_has_saved_is_requeued(desk: Desk) -> None:
    code, _ = desk.run(RANKS="2", SLURM_JOB_ID="7", CODE="138", SAVES="runs/job-7")
    assert code == 138
    assert desk.requeued.read_text() == "requeue 7\n"


def test_a_job_that_has_not_saved_is_not_requeued(desk: Desk) -> None:
    checkpoints = desk.folder / "runs/job-7/checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "round-00000005.state").touch()
    code, printed = desk.run(RANKS="2", SLURM_JOB_ID="7", CODE="138")
    assert code == 138 and "no checkpoint was written: the job is not requeued" in printed
    assert not desk.requeued.exists()


def test_outside_slurm_nothing_is_requeued(desk: Desk) -> None:
    assert desk.run(RANKS="2", PBS_JOBID="7", CODE="138", SAVES="runs/job-7")[0] == 138
    assert not desk.requeued.exists()


@pytest.mark.parametrize(
    ("sent", "name", "code"), [(signal.SIGUSR1, "USR1", 138), (signal.SIGTERM, "TERM", 143)]
)
def test_signals_are_passed_on_and_the_job_waited_for(desk: Desk, sent: int, name: str, code: int) -> None:
    job = desk.start(RANKS="2", SLURM_JOB_ID="7", LINGERS="1", SAVES="runs/job-7")
    within(10, desk.started.exists)
    job.send_signal(sent)
    job.communicate(timeout=20)
    assert job.returncode == code
    assert desk.signals.read_text() == f"{name}\n"
    assert desk.requeued.exists() == (name == "USR1")


def test_a_signal_that_comes_early_is_passed_on(desk: Desk) -> None:
    """While the job's folder is looked at there is no job yet that could be told."""
    (desk.folder / "bin" / "sort").write_text(
        '#!/bin/sh\ntouch "$SORTING"\nsleep 1\nexec /usr/bin/sort "$@"\n'
    )
    (desk.folder / "bin" / "sort").chmod(0o755)
    sorting = desk.folder / "sorting"
    job = desk.start(RANKS="2", OUT="run", LINGERS="1", SORTING=str(sorting))
    within(10, sorting.exists)
    job.send_signal(signal.SIGTERM)
    job.communicate(timeout=20)
    assert job.returncode == 128 + signal.SIGTERM
