"""What the tests of the data package share."""

from pathlib import Path

import pytest

from tests.data.idx_files import IdxFolder


@pytest.fixture
def mnist_folder(tmp_path: Path) -> IdxFolder:
    """Return a made-up MNIST below tmp_path, laid out as torchvision expects its root."""
    return IdxFolder(tmp_path / "MNIST" / "raw")
