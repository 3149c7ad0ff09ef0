"""Every command of the README is run.

Commands in `console` blocks are run here, training ones cut to one round, and on data from outside to three ranks: of
eleven each would read and start for longer than everything else takes. Commands in `sh` blocks take minutes: .ci/run
runs them in a fresh checkout.
"""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mpirun import ROOT, clean_environment, launcher, mpirun
from tests.reporting.folders import run_folder

README = (ROOT / "README.md").read_text(encoding="utf-8")
MODULE = "fedcomloc_mpi.train"


def commands(language: str) -> list[str]:
    """The commands of all fenced blocks of one language, without the prompt."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


TRAINING = [command for command in commands("console") if command.startswith("mpirun ")]
INSTALL = [command for command in commands("console") if " pip install " in command]
REPORT = [command for command in commands("console") if "fedcomloc_mpi.report" in command]
CHEAP = [command for command in commands("console") if command not in TRAINING + INSTALL + REPORT]


def test_readme_has_no_other_blocks() -> None:
    assert set(re.findall(r"^```(\w+)$", README, re.MULTILINE)) == {"console", "sh"}
    assert commands("sh") == ["make train", "make test"]
    assert TRAINING
    assert INSTALL
    assert REPORT
    assert CHEAP


def test_ci_runs_the_long_commands() -> None:
    lines = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert set(commands("sh")) <= set(lines)


def run_python(command: str, folder: Path) -> str:
    """Run a command that starts with `python` in a folder; return what it printed."""
    words = shlex.split(command)
    assert words[0] == "python"
    done = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", CHEAP)
def test_cheap_command(command: str, tmp_path: Path) -> None:
    assert run_python(command, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", REPORT)
def test_report_command(command: str, tmp_path: Path) -> None:
    for seed in (0, 1):
        run_folder(tmp_path / "runs" / str(seed), seed=seed)
    assert "seed 1" in run_python(command, tmp_path)
    written = {path.name for path in (tmp_path / "report").iterdir()}
    assert written >= {"report.html", "rounds.csv", "accuracy.png", "accuracy.svg"}


@pytest.mark.parametrize("command", TRAINING)
def test_training_command(command: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    mpi, ranks_flag, ranks, python, *arguments = shlex.split(command)
    assert (mpi, ranks_flag, python) == ("mpirun", "-n", "python")
    if "--data-dir" in arguments:
        (tmp_path / "data").symlink_to(request.getfixturevalue("test_data"))
        ranks = "3"
    job = mpirun(int(ranks), [*arguments, "--rounds", "1"], cwd=tmp_path, timeout=110)
    assert job.returncode == 0, job
    (run,) = (tmp_path / "runs").iterdir()
    table = README.partition("| file |")[2].partition("\n\n")[0]
    listed = re.findall(r"`(\w+\.\w+)`", table)
    assert len(listed) >= 8
    assert {path.name for path in run.iterdir() if path.is_file()} == set(listed)


def test_launcher_is_the_readme_s_mpirun() -> None:
    """`mpirun` of an active virtual environment is the program that the tests start jobs with."""
    beside = Path(sys.executable).parent / "mpirun"
    if not beside.exists():
        pytest.skip("this Python has no mpirun beside it: the site's MPI is in use")
    assert beside.read_bytes() == Path(launcher()).read_bytes()


@pytest.mark.parametrize("command", INSTALL)
def test_install_command(command: str, tmp_path: Path) -> None:
    """The command as it stands, in a copy of the checkout; into a folder of its own and without the dependencies."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    shutil.copytree(
        ROOT / "fedcomloc_mpi",
        source / "fedcomloc_mpi",
        ignore=shutil.ignore_patterns("__pycache__", "*.so"),
    )
    target = tmp_path / "target"
    # "0" switches build isolation off: pip takes the variable for the value of build_isolation.
    settings = {"PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_TARGET": str(target)}
    words = shlex.split(command)
    done = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=source,
        env=clean_environment(settings),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (target / "fedcomloc_mpi" / "errors.py").exists()
