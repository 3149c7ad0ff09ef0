"""MNIST and FashionMNIST: the four idx files, read in memory, gzip or not, from folders that may be
read-only.

The format (http://yann.lecun.com/exdb/mnist, kept in torchvision.datasets.mnist): two zero bytes, the element
type (8: unsigned byte), the number of dimensions, one big-endian 32-bit size for each dimension, then the
elements, the last dimension fastest. Files are checked against their headers, not against checksums, so that
subsets of the official sets can be used; no header can ask for more memory than the official set takes.
"""

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedcomloc_mpi.data.locate import locate
from fedcomloc_mpi.errors import UserError

# torchvision's folder of each data set below its `root`.
FOLDERS = {"mnist": "MNIST", "fashionmnist": "FashionMNIST"}
# In torchvision's order: training images and labels, test images and labels.
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
# md5 of the official train-labels-idx1-ubyte.gz: both sets use the same names, and one must not pass for the
# other.
TRAIN_LABELS_MD5 = {
    "mnist": "d53e105ee54ea40749a09fcbcd1e9432",
    "fashionmnist": "25c81989df183df01b3e8a0aad5dffbe",
}
IMAGE_SHAPE = (28, 28)
CLASSES = 10
OFFICIAL_TRAIN_SAMPLES = 60_000
OFFICIAL_TEST_SAMPLES = 10_000

_UNSIGNED_BYTE = 8
_CHUNK = 1 << 20


class RawSplits(NamedTuple):
    """Images uint8 [N, 1, 28, 28] and labels uint8 [N] of the training and the test set."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]


def folders(dataset: str) -> tuple[str, ...]:
    """Return the folders below --data-dir that may hold the files, in the order of the search."""
    return (f"{FOLDERS[dataset]}/raw", "raw", "")


def read(dataset: str, data_dir: Path) -> RawSplits:
    """Read "mnist" or "fashionmnist". Raises UserError that names the file that is missing or damaged."""
    paths = locate(dataset, data_dir, folders(dataset), FILES, suffixes=("", ".gz"))
    _refuse_other_dataset(dataset, paths[1])
    train_images, train_labels = _read_pair(paths[0], paths[1], OFFICIAL_TRAIN_SAMPLES)
    test_images, test_labels = _read_pair(paths[2], paths[3], OFFICIAL_TEST_SAMPLES)
    return RawSplits(train_images, train_labels, test_images, test_labels)


def read_file(path: Path, item_shape: tuple[int, ...], most: int) -> NDArray[np.uint8]:
    """Read one idx file of unsigned bytes into an array uint8 [count, *item_shape]; gzip if its name ends in
    .gz.

    Raises UserError, before allocating, if the header is not of such a file or announces more than `most`
    items; and if the data is shorter or longer than announced, or the gzip stream damaged.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as stream:
            return _read_stream(stream, path, item_shape, most)
    except EOFError as error:
        raise UserError(f"{path}: truncated gzip file; fetch it again") from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: damaged gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read_stream(
    stream: IO[bytes] | gzip.GzipFile, path: Path, item_shape: tuple[int, ...], most: int
) -> NDArray[np.uint8]:
    header_size = 4 * (2 + len(item_shape))
    header = stream.read(header_size)
    if len(header) < header_size:
        raise UserError(f"{path}: truncated: {len(header)} bytes, the header alone has {header_size}")
    magic, count, *shape = struct.unpack(f">{2 + len(item_shape)}I", header)
    expected_magic = _UNSIGNED_BYTE << 8 | 1 + len(item_shape)
    if magic != expected_magic:
        raise UserError(
            f"{path}: not the idx file expected: starts with {magic:#010x}, not {expected_magic:#010x}"
        )
    if tuple(shape) != item_shape:
        found, expected = (" x ".join(map(str, sizes)) for sizes in (shape, item_shape))
        raise UserError(f"{path}: its header announces images of {found}, expected {expected}")
    if not 1 <= count <= most:
        raise UserError(f"{path}: its header announces {count} items, expected 1 to {most}")

    size = count * math.prod(item_shape)
    elements = np.empty(size, dtype=np.uint8)
    view = elements.data
    filled = 0
    # In chunks: one read would hold a second copy of the whole file.
    while filled < size and (chunk := stream.read(min(_CHUNK, size - filled))):
        view[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    if filled < size:
        raise UserError(f"{path}: truncated: {filled} bytes of data, its header announces {size}")
    # This read also makes the gzip reader verify the checksum at the end.
    if stream.read(1):
        raise UserError(f"{path}: holds more than the {size} bytes of data that its header announces")
    return elements.reshape(count, *item_shape)


def _read_pair(
    images_path: Path, labels_path: Path, most: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    labels = read_file(labels_path, (), most)
    if labels.max() >= CLASSES:
        raise UserError(f"{labels_path}: holds the label {labels.max()}, expected 0 to {CLASSES - 1}")
    images = read_file(images_path, IMAGE_SHAPE, most)
    if len(images) != len(labels):
        raise UserError(
            f"{images_path}: {len(images)} images, but {labels_path.name} holds {len(labels)} labels"
        )
    return images[:, np.newaxis], labels


def _refuse_other_dataset(dataset: str, labels_path: Path) -> None:
    if labels_path.suffix != ".gz":
        return
    try:
        with open(labels_path, "rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise UserError(f"{labels_path}: cannot be read ({error.strerror or error})") from error
    for other, md5 in TRAIN_LABELS_MD5.items():
        if other != dataset and md5 == found:
            raise UserError(f"{labels_path} belongs to {other}, not to --dataset {dataset}")
