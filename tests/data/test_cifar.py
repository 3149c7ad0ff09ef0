"""CIFAR-10's pickles are opened only if their md5 is right."""

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from fedcomloc_mpi.data import cifar, import_torchvision, load
from fedcomloc_mpi.data.datasets import normalise
from fedcomloc_mpi.errors import UserError

SAMPLES = 6


class Trap:
    """An object whose pickle creates a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with small made-up batches, whose md5 sums take the place of the official ones."""
    rng = np.random.default_rng(3)
    folder = tmp_path / cifar.FOLDER
    folder.mkdir()

    def write(batches: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        sums = []
        for file, _ in batches:
            batch = {
                b"data": rng.integers(0, 256, (SAMPLES, 3072), dtype=np.uint8),
                b"labels": [int(label) for label in rng.integers(0, 10, SAMPLES)],
            }
            content = pickle.dumps(batch, protocol=2)
            (folder / file).write_bytes(content)
            sums.append((file, hashlib.md5(content).hexdigest()))
        return tuple(sums)

    monkeypatch.setattr(cifar, "TRAIN_BATCHES", write(cifar.TRAIN_BATCHES))
    monkeypatch.setattr(cifar, "TEST_BATCHES", write(cifar.TEST_BATCHES))
    monkeypatch.setattr(cifar, "BATCH_SAMPLES", SAMPLES)
    return tmp_path


def test_constants_are_torchvisions() -> None:
    import_torchvision()
    from torchvision.datasets import CIFAR10

    assert CIFAR10.base_folder == cifar.FOLDER
    assert [tuple(entry) for entry in CIFAR10.train_list] == list(cifar.TRAIN_BATCHES)
    assert [tuple(entry) for entry in CIFAR10.test_list] == list(cifar.TEST_BATCHES)


def test_batches_in_file_order(root: Path) -> None:
    dataset = load("cifar10", str(root))
    for number, (file, _) in enumerate(cifar.TRAIN_BATCHES):
        batch = pickle.loads((root / cifar.FOLDER / file).read_bytes())
        rows = slice(number * SAMPLES, (number + 1) * SAMPLES)
        np.testing.assert_array_equal(dataset.train_labels[rows], batch[b"labels"])
        expected = np.empty((SAMPLES, 3, 32, 32), dtype=np.float32)
        images = batch[b"data"].reshape(SAMPLES, 3, 32, 32)
        normalise(images, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), expected)
        np.testing.assert_array_equal(dataset.train_inputs[rows], expected)
    assert dataset.test_inputs.shape == (SAMPLES, 3, 32, 32)
    assert (dataset.classes, dataset.input_shape) == (10, (3, 32, 32))


def test_the_folder_itself_will_do(root: Path) -> None:
    np.testing.assert_array_equal(
        load("cifar10", root / cifar.FOLDER).train_inputs, load("cifar10", root).train_inputs
    )


@pytest.mark.parametrize("file", ["data_batch_3", "test_batch"])
def test_wrong_md5_is_not_opened(file: str, root: Path, tmp_path: Path) -> None:
    path = root / cifar.FOLDER / file
    path.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(UserError, match=f"^{path}: damaged or not the official CIFAR-10 batch"):
        load("cifar10", root)
    assert not (tmp_path / "sprung").exists()


def test_truncated_batch(root: Path) -> None:
    path = root / cifar.FOLDER / "data_batch_1"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=str(path)):
        load("cifar10", root)


def test_endless_file_is_not_read_to_its_end(root: Path) -> None:
    path = root / cifar.FOLDER / "test_batch"
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # sparse: takes no space on disk
    with pytest.raises(UserError, match=str(path)):
        load("cifar10", root)


def test_missing_batch(root: Path) -> None:
    (root / cifar.FOLDER / "data_batch_5").unlink()
    with pytest.raises(UserError, match="did not find data_batch_5; looked in"):
        load("cifar10", root)
