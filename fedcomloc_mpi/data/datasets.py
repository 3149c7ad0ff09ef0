"""Data sets as arrays in memory, normalised, float32.

Neither torchvision nor sklearn is imported to read one: on a node with many ranks each import costs seconds.
"""

import difflib
import importlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedcomloc_mpi.data import cifar, idx, synthetic
from fedcomloc_mpi.data.download import download as download_files
from fedcomloc_mpi.data.locate import required_folder
from fedcomloc_mpi.errors import UserError

DATASETS = ("digits", "mnist", "fashionmnist", "cifar10", "synthetic")

DIGITS_LARGEST_PIXEL = 16
DIGITS_TEST_EVERY = 5
DIGITS_CLASSES = 10

# Mean and standard deviation of each channel of the training set after division by 255.
_STATISTICS = {
    "mnist": ((0.1307,), (0.3081,)),
    "fashionmnist": ((0.2860,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
}

# A few MB of float32 at a time stay in the processor's cache through all the steps.
_CHUNK_SAMPLES = 500


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, ready to train on.

    `train_inputs` float32 C-contiguous [N, *input_shape] ((channels, height, width) of images), normalised;
    `train_labels` int64 [N] in [0, classes); `test_inputs` and `test_labels` alike. Samples are in the order
    of the official files.
    """

    name: str
    train_inputs: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test_inputs: NDArray[np.float32]
    test_labels: NDArray[np.int64]
    classes: int
    input_shape: tuple[int, ...]


def load(name: str, data_dir: str | os.PathLike[str] | None = None, download: bool = False) -> Dataset:
    """Read the data set `name` (in DATASETS) from `data_dir`, which may be read-only: nothing is written.

    `data_dir` is laid out as torchvision's `root`, or is itself the folder with the files; "digits" and
    "synthetic" need none. With `download`, files that are missing are fetched first (by this process: call
    `download` on one rank of a node). Raises UserError: unknown name, files missing or damaged.
    """
    if name == "own":
        raise UserError("--dataset own is for programs that pass theirs: fedcomloc_mpi.run(..., dataset=...)")
    if name not in DATASETS:
        near = difflib.get_close_matches(name.lower(), DATASETS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(DATASETS)}"
        raise UserError(f"unknown data set {name!r}: {hint}")
    if download:
        download_files(name, data_dir)
    if name == "digits":
        return _load_digits()
    if name == "synthetic":
        return Dataset(name, *synthetic.samples(), synthetic.CLASSES, (synthetic.FEATURES,))
    if name == "cifar10":
        return _load_cifar10(required_folder(name, data_dir, cifar.FOLDER))
    return _load_idx(name, required_folder(name, data_dir, idx.folders(name)[0]))


def normalise(
    pixels: NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...], out: NDArray[np.float32]
) -> None:
    """Write (pixels / 255 - mean) / std into `out`; both [N, channels, height, width], mean, std per channel.

    Computed in float32 in this order, so that the bits equal torchvision's ToTensor followed by Normalize.
    """
    channels = (len(mean), 1, 1)
    mean32 = np.array(mean, dtype=np.float32).reshape(channels)
    std32 = np.array(std, dtype=np.float32).reshape(channels)
    for start in range(0, len(pixels), _CHUNK_SAMPLES):
        block = out[start : start + _CHUNK_SAMPLES]
        block[...] = pixels[start : start + _CHUNK_SAMPLES]
        block /= np.float32(255)
        block -= mean32
        block /= std32


def _load_idx(name: str, data_dir: Path) -> Dataset:
    raw = idx.read(name, data_dir)
    train_inputs = np.empty(raw.train_images.shape, dtype=np.float32)
    test_inputs = np.empty(raw.test_images.shape, dtype=np.float32)
    normalise(raw.train_images, *_STATISTICS[name], out=train_inputs)
    normalise(raw.test_images, *_STATISTICS[name], out=test_inputs)
    return Dataset(
        name,
        train_inputs,
        raw.train_labels.astype(np.int64),
        test_inputs,
        raw.test_labels.astype(np.int64),
        classes=idx.CLASSES,
        input_shape=train_inputs.shape[1:],
    )


def _load_cifar10(data_dir: Path) -> Dataset:
    def read_split(train: bool, batches: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        inputs = np.empty((batches * cifar.BATCH_SAMPLES, *cifar.IMAGE_SHAPE), dtype=np.float32)
        labels = np.empty(len(inputs), dtype=np.int64)
        for number, (batch_images, batch_labels) in enumerate(cifar.read(data_dir, train)):
            rows = slice(number * cifar.BATCH_SAMPLES, (number + 1) * cifar.BATCH_SAMPLES)
            normalise(batch_images, *_STATISTICS["cifar10"], out=inputs[rows])
            labels[rows] = batch_labels
        return inputs, labels

    # The small split first: a missing or damaged file shows before the large one is read.
    test_inputs, test_labels = read_split(False, len(cifar.TEST_BATCHES))
    train_inputs, train_labels = read_split(True, len(cifar.TRAIN_BATCHES))
    return Dataset(
        "cifar10",
        train_inputs,
        train_labels,
        test_inputs,
        test_labels,
        classes=cifar.CLASSES,
        input_shape=cifar.IMAGE_SHAPE,
    )


def _load_digits() -> Dataset:
    """Read scikit-learn's handwritten digits (E. Alpaydin, C. Kaynak, UCI): 1 442 + 355 images of 8 x 8.

    There is no official split: of each class every fifth image, in file order, is in the test set; the others
    are the training set, in file order. Writers follow one another in the file, so both sets see each of
    them.
    """
    pixels, labels = _read_digits()
    inputs = pixels.astype(np.float32).reshape(-1, 1, 8, 8) / np.float32(DIGITS_LARGEST_PIXEL)
    test = np.zeros(len(labels), dtype=bool)
    for label in range(DIGITS_CLASSES):
        test[np.flatnonzero(labels == label)[DIGITS_TEST_EVERY - 1 :: DIGITS_TEST_EVERY]] = True
    return Dataset(
        "digits", inputs[~test], labels[~test], inputs[test], labels[test], DIGITS_CLASSES, (1, 8, 8)
    )


def _read_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    # `import sklearn` costs a second per rank; its file of digits does not need it.
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise UserError(
            "--dataset digits is part of scikit-learn, which is not installed: pip install scikit-learn"
        )
    path = Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    if path.is_file():
        table = np.loadtxt(path, delimiter=",", dtype=np.float64)
        return table[:, :-1], table[:, -1].astype(np.int64)
    bunch = importlib.import_module("sklearn.datasets").load_digits()
    return bunch.data, bunch.target.astype(np.int64)
