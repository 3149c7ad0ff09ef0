import json
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from fedcomloc_mpi.metrics import describe_environment, startup_line, write_json
from fedcomloc_mpi.metrics import environment as module
from fedcomloc_mpi.metrics.environment import short_mpi_library, source_version

MPICH = "MPICH Version:      5.0.1\nMPICH Release date: Mon Jan 1\nMPICH ABI:          18:0:6\n\x00"
OPEN_MPI = "Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4, repo rev: v4.1.4, May 26, 2022\x00"


def described(**changes: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "mpi_library": MPICH,
        "hosts": ["n1", "n2", "n1"],
        "coders": {"index": ["bitmap"], "value": ["float32"]},
        "threads": 2,
        "bitwise": True,
    }
    return describe_environment(**facts | changes)


def test_contents(tmp_path: Path) -> None:
    write_json(tmp_path / "environment.json", described(started=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)))
    written = json.loads((tmp_path / "environment.json").read_text())
    assert written["started"] == "2025-01-02T03:04:05Z"
    assert written["python"] == platform.python_version()
    assert written["packages"]["torch"] == torch.__version__
    assert written["mpi_library"].splitlines()[-1] == "MPICH ABI:          18:0:6"
    assert written["ranks"] == 3
    assert written["hosts"] == ["n1", "n2"]
    assert written["host_of_rank"] == ["n1", "n2", "n1"]
    assert written["coders"] == {"index": ["bitmap"], "value": ["float32"]}
    assert written["threads"] == 2
    assert written["bitwise"] is True
    assert written["device"] == "cpu"
    assert written["cpu"]
    assert written["cpus_available"] >= 1
    assert len(written["source_sha256"]) == 64


def test_started_is_utc_now() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    started = datetime.strptime(described()["started"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert before <= started <= datetime.now(UTC)


def test_further_keys() -> None:
    assert described(extra={"gpu": "none"})["gpu"] == "none"


@pytest.mark.parametrize(
    ("text", "name"),
    [(MPICH, "MPICH 5.0.1"), (OPEN_MPI, "Open MPI v4.1.4"), ("Some MPI 7\x00\x00", "Some MPI 7")],
)
def test_short_mpi_library(text: str, name: str) -> None:
    assert short_mpi_library(text) == name


def test_startup_line() -> None:
    line = startup_line(
        title="fedcomloc-com on digits",
        ranks=11,
        clients=20,
        cohort=10,
        threads=1,
        mpi_library=MPICH,
        coders=["bitmap", "float32"],
    )
    assert line == (
        "fedcomloc-com on digits: 11 ranks, 2 clients per rank (cohort 10), 1 thread per rank, MPICH 5.0.1, "
        "coders bitmap, float32"
    )


def test_startup_line_with_gpus() -> None:
    numbers = {"ranks": 5, "clients": 8, "cohort": 4, "threads": 1, "hosts": 2, "ranks_on_gpus": 4}
    line = startup_line(title="x", mpi_library=MPICH, coders=["dense"], **numbers)  # type: ignore[arg-type]
    assert line.startswith("x: 5 ranks on 2 hosts (4 with a GPU), 2 clients per rank")


def test_startup_line_of_uneven_ranks() -> None:
    line = startup_line(
        title="x", ranks=4, clients=100, cohort=5, threads=2, mpi_library=OPEN_MPI, coders=["dense"], hosts=2
    )
    assert line.startswith(
        "x: 4 ranks on 2 hosts, 33.3 clients per rank (cohort 5), 2 threads per rank, Open MPI"
    )


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder in place of the package's own."""
    for name, value in {"AUTHOR": "a", "COMMITTER": "c"}.items():
        monkeypatch.setenv(f"GIT_{name}_NAME", value)
        monkeypatch.setenv(f"GIT_{name}_EMAIL", f"{value}@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setattr(module, "_PACKAGE_FOLDER", tmp_path / "package")
    monkeypatch.setattr(module, "_PROJECT", "no-such-distribution")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "code.py").write_text("1\n")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_source_version_of_a_checkout(checkout: Path) -> None:
    git(checkout, "init", "-q")
    assert source_version() == "unknown", "a checkout without a commit has no description"
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "first")
    commit = git(checkout, "rev-parse", "HEAD")
    assert commit.startswith(source_version())
    git(checkout, "tag", "v1.2")
    assert source_version() == "v1.2"
    (checkout / "package" / "code.py").write_text("2\n")
    assert source_version() == "v1.2-dirty"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_checkout_around_an_installation_is_not_the_source(checkout: Path) -> None:
    (checkout / "site" / "package").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PACKAGE_FOLDER", checkout / "site" / "package")
        git(checkout, "init", "-q")
        git(checkout, "add", ".")
        git(checkout, "commit", "-q", "-m", "somebody else's")
        assert source_version() == "unknown"


def test_source_version_without_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / ".git").mkdir()
    monkeypatch.setenv("PATH", "")
    assert source_version() == "unknown"
    monkeypatch.setattr(module, "_PROJECT", "numpy")
    assert source_version()[0].isdigit()


def test_source_hash_follows_the_sources(checkout: Path) -> None:
    first = described()["source_sha256"]
    (checkout / "package" / "notes.txt").write_text("not code")
    assert described()["source_sha256"] == first
    (checkout / "package" / "code.py").write_text("2\n")
    assert described()["source_sha256"] != first
