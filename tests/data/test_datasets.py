"""Data sets come normalised as documented, from read-only folders, without costly imports."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcomloc_mpi.data import DATASETS, Dataset, datasets, import_torchvision, load
from fedcomloc_mpi.errors import UserError
from tests.data.idx_files import IdxFolder

REPOSITORY = Path(__file__).parents[2]


def check(dataset: Dataset, train: int, test: int, input_shape: tuple[int, ...]) -> None:
    """Check types, shapes and label range."""
    assert dataset.input_shape == input_shape
    for inputs, labels, samples in (
        (dataset.train_inputs, dataset.train_labels, train),
        (dataset.test_inputs, dataset.test_labels, test),
    ):
        assert inputs.shape == (samples, *input_shape) and inputs.dtype == np.float32
        assert inputs.flags.c_contiguous and labels.flags.c_contiguous
        assert labels.shape == (samples,) and labels.dtype == np.int64
        assert labels.min() >= 0 and labels.max() < dataset.classes == 10


def test_digits_are_all_of_sklearns() -> None:
    from sklearn.datasets import load_digits

    dataset = load("digits")
    check(dataset, 1442, 355, (1, 8, 8))
    reference = load_digits()
    inputs = (reference.images / 16).astype(np.float32)[:, np.newaxis]
    seen = dict.fromkeys(range(10), 0)
    is_test = []
    for label in reference.target:
        seen[label] += 1
        is_test.append(seen[label] % 5 == 0)
    mask = np.array(is_test)
    np.testing.assert_array_equal(dataset.train_inputs, inputs[~mask])
    np.testing.assert_array_equal(dataset.train_labels, reference.target[~mask])
    np.testing.assert_array_equal(dataset.test_inputs, inputs[mask])
    np.testing.assert_array_equal(dataset.test_labels, reference.target[mask])


def test_digits_where_sklearn_keeps_them_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    direct = load("digits")
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    np.testing.assert_array_equal(load("digits").train_inputs, direct.train_inputs)


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashionmnist", "FashionMNIST")])
def test_idx_sets_equal_torchvisions_transforms(name: str, folder: str, tmp_path: Path) -> None:
    import_torchvision()
    from torchvision import transforms

    arrays = IdxFolder(tmp_path / folder / "raw").arrays
    dataset = load(name, tmp_path)
    check(dataset, 40, 12, (1, 28, 28))
    mean, std = {"mnist": (0.1307, 0.3081), "fashionmnist": (0.2860, 0.3530)}[name]
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
    for image, inputs in zip(arrays["train-images-idx3-ubyte"], dataset.train_inputs, strict=True):
        np.testing.assert_array_equal(transform(image[:, :, np.newaxis]).numpy(), inputs)
    np.testing.assert_array_equal(dataset.train_labels, arrays["train-labels-idx1-ubyte"])


@given(samples=st.integers(1, 1200), seed=st.integers(0, 99))
def test_normalise_in_chunks(samples: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (samples, 3, 2, 2), dtype=np.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    out = np.empty(pixels.shape, dtype=np.float32)
    datasets.normalise(pixels, mean, std, out)
    for channel in range(3):
        exact = (pixels[:, channel] / 255 - mean[channel]) / std[channel]
        np.testing.assert_allclose(out[:, channel], exact, rtol=1e-5, atol=1e-6)


def test_normalise_makes_no_copy() -> None:
    pixels = np.zeros((20_000, 1, 28, 28), dtype=np.uint8)
    out = np.empty(pixels.shape, dtype=np.float32)
    tracemalloc.start()
    try:
        datasets.normalise(pixels, (0.1307,), (0.3081,), out)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_nothing_is_written(mnist_folder: IdxFolder, tmp_path: Path) -> None:
    for folder in (mnist_folder.folder, mnist_folder.folder.parent, tmp_path):
        folder.chmod(0o555)
    before = sorted(tmp_path.rglob("*"))
    try:
        load("mnist", tmp_path)
        load("mnist", tmp_path, download=True)
    finally:
        for folder in (tmp_path, mnist_folder.folder.parent, mnist_folder.folder):
            folder.chmod(0o755)
    assert sorted(tmp_path.rglob("*")) == before


def test_no_costly_imports(mnist_folder: IdxFolder, tmp_path: Path) -> None:
    code = f"""
import sys
from fedcomloc_mpi.data import load, partition
dataset = load("mnist", {str(tmp_path)!r})
partition(dataset.train_labels, "dirichlet", 4)
load("digits")
print([name for name in ("torch", "torchvision", "sklearn", "scipy") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [("MNIST", "did you mean mnist?"), ("cifar", "did you mean cifar10?"), ("zz", "known are digits, mnist")],
)
def test_unknown_name(name: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        load(name, "anywhere")
    assert says in str(caught.value)


@pytest.mark.parametrize("name", [name for name in DATASETS if name not in ("digits", "synthetic")])
def test_missing_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"nowhere \(--data-dir\) does not exist; put the files into .*--download"
    ):
        load(name, str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=f"{name} needs --data-dir"):
        load(name)


def test_real_mnist(test_data: Path) -> None:
    dataset = load("mnist", test_data)
    check(dataset, 60_000, 10_000, (1, 28, 28))
    assert dataset.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert dataset.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert abs(dataset.train_inputs.mean()) < 1e-3 and abs(dataset.train_inputs.std() - 1) < 1e-3


def test_real_cifar10(test_data: Path) -> None:
    dataset = load("cifar10", test_data)
    check(dataset, 50_000, 10_000, (3, 32, 32))
    assert dataset.train_labels[:5].tolist() == [6, 9, 9, 4, 1]
    assert np.bincount(dataset.train_labels).tolist() == [5000] * 10
    assert np.abs(dataset.train_inputs.mean(axis=(0, 2, 3))).max() < 1e-3
    # Float32 sums over 50 million entries are good to a few parts in a thousand.
    assert np.abs(dataset.train_inputs[:5000].std(axis=(0, 2, 3)) - 1).max() < 0.02
