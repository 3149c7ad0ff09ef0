"""Tests that need root and install programs: only `make test-cluster` runs them (see run.py)."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.runs import REFERENCE, SHORT, train_here
from tests.cluster.slurm import Slurm
from tests.mpirun import ROOT

ENABLED = "FEDCOMLOC_CLUSTER_TESTS"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return None if os.environ.get(ENABLED) else True


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run with the flags REFERENCE, of 4 ranks on one host."""
    folder = tmp_path_factory.mktemp("reference")
    train_here(4, *REFERENCE, "--out", "run", cwd=folder)
    return folder / "run"


@pytest.fixture(scope="session")
def short_reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the flags SHORT."""
    folder = tmp_path_factory.mktemp("short")
    train_here(3, *SHORT, "--out", "run", cwd=folder)
    return folder / "run"


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    folder = Path(tempfile.mkdtemp(prefix="fedcomloc-slurm-"))
    try:
        with Slurm(folder / "slurm") as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder as users have it, with launch/ and .venv, where runs/ and the jobs' output go."""
    (tmp_path / "launch").symlink_to(ROOT / "launch")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path
