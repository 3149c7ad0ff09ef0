"""CIFAR-10: torchvision's python pickles, opened only after their md5 is verified.

A pickle can run any code when it is opened. The md5 (torchvision.datasets.CIFAR10.train_list and .test_list)
is taken of the very bytes that are then unpickled, so a file changed in between cannot slip through.
"""

import hashlib
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedcomloc_mpi.data.locate import locate
from fedcomloc_mpi.errors import UserError

FOLDER = "cifar-10-batches-py"
TRAIN_BATCHES = (
    ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
    ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
    ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
    ("data_batch_4", "634d18415352ddfa80567beed471001a"),
    ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
)
TEST_BATCHES = (("test_batch", "40351d587109b95175f43aff81a1287e"),)
IMAGE_SHAPE = (3, 32, 32)
CLASSES = 10
BATCH_SAMPLES = 10_000

# The official batches are 31 035 320 to 31 035 999 bytes: a larger file cannot be one and is not read to its
# end.
_MOST_BYTES = 32_000_000


def folders() -> tuple[str, ...]:
    """Return the folders below --data-dir that may hold the batches, in the order of the search."""
    return (FOLDER, "")


def read(data_dir: Path, train: bool) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Yield the batches in file order: images uint8 [B, 3, 32, 32], labels int64 [B].

    One batch is in memory at a time. Raises UserError that names the file for anything missing or damaged.
    """
    files = [file for file, _ in TRAIN_BATCHES + TEST_BATCHES]
    paths = dict(zip(files, locate("cifar10", data_dir, folders(), files), strict=True))
    for file, md5 in TRAIN_BATCHES if train else TEST_BATCHES:
        yield _read_batch(paths[file], md5)


def _read_batch(path: Path, md5: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if len(content) > _MOST_BYTES or found != md5:
        raise UserError(
            f"{path}: damaged or not the official CIFAR-10 batch (its md5 is not {md5}), not opened; "
            "remove it and fetch it again, for example with --download"
        )
    batch = pickle.loads(content, encoding="bytes")
    images = np.asarray(batch[b"data"], dtype=np.uint8).reshape(-1, *IMAGE_SHAPE)
    return images, np.asarray(batch[b"labels"], dtype=np.int64)
