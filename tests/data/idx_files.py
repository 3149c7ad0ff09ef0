"""Made-up idx files, so that no test needs a data set on disk."""

import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """Return `array` in the idx format."""
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


class IdxFolder:
    """A folder with a made-up data set of `train` and `test` samples, written as four gzip files."""

    def __init__(self, folder: Path, train: int = 40, test: int = 12) -> None:
        rng = np.random.default_rng(7)
        folder.mkdir(parents=True)
        self.folder = folder
        self.arrays = {
            "train-images-idx3-ubyte": rng.integers(0, 256, (train, 28, 28), dtype=np.uint8),
            "train-labels-idx1-ubyte": rng.integers(0, 10, train, dtype=np.uint8),
            "t10k-images-idx3-ubyte": rng.integers(0, 256, (test, 28, 28), dtype=np.uint8),
            "t10k-labels-idx1-ubyte": rng.integers(0, 10, test, dtype=np.uint8),
        }
        for name, array in self.arrays.items():
            self.gz(name).write_bytes(gzip.compress(idx_bytes(array)))

    def gz(self, name: str) -> Path:
        """Return the path of the compressed file `name`."""
        return self.folder / f"{name}.gz"

    def rewrite(self, name: str, content: bytes) -> Path:
        """Replace the decompressed content of the file `name`; return its path."""
        self.gz(name).write_bytes(gzip.compress(content))
        return self.gz(name)
