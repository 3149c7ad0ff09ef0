"""What all tests share: repeatable hypothesis examples, one thread, and folders."""

import os
from pathlib import Path

# Before anything imports numpy or torch: ranks and tests share few cores, and torch's results depend on it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

# The same examples every time, and on every rank of an MPI test. No deadline: machines and loads differ.
settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# pytest --hypothesis-profile=explore looks for new counterexamples.
settings.register_profile(
    "explore", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("repeatable")


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A folder for one training run, for --out: it does not exist yet."""
    return tmp_path / "run"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with MNIST/ and cifar-10-batches-py/ that the variable FEDCOMLOC_TEST_DATA names."""
    named = os.environ.get("FEDCOMLOC_TEST_DATA")
    if not named:
        pytest.skip("FEDCOMLOC_TEST_DATA does not name a folder with MNIST/ and cifar-10-batches-py/")
    folder = Path(named)
    assert folder.is_dir(), f"FEDCOMLOC_TEST_DATA names {folder}, which is no folder"
    return folder
