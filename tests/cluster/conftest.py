"""Tests that need root and install programs: only `make test-cluster` runs them (see run.py)."""

import os
from pathlib import Path

import pytest

from tests.cluster.runs import REFERENCE, train_here

ENABLED = "FEDCOMLOC_CLUSTER_TESTS"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return None if os.environ.get(ENABLED) else True


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run with the flags REFERENCE, of 4 ranks on one host."""
    folder = tmp_path_factory.mktemp("reference")
    train_here(4, *REFERENCE, "--out", "run", cwd=folder)
    return folder / "run"
