"""Fetch a data set with torchvision's downloader. Call it on one rank of each node."""

import importlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

from fedcomloc_mpi.data import cifar, idx
from fedcomloc_mpi.data.locate import locate, required_folder
from fedcomloc_mpi.data.torchvision_import import import_torchvision
from fedcomloc_mpi.errors import UserError

# torchvision sets no timeout: a silent server would hang the job.
_SILENCE_SECONDS = 60.0


def download(name: str, data_dir: str | os.PathLike[str] | None) -> None:
    """Fetch the files of `name` that are missing into `data_dir`, which is created, in torchvision's layout.

    Does nothing for "digits" or where every file is present (present files are neither checked nor replaced).
    Files arrive in a temporary folder inside `data_dir`, are checked against torchvision's md5, and are then
    renamed into place, so none is ever seen half-written and two nodes may share the folder. The idx files
    stay compressed. Raises UserError if a file cannot be fetched or written.
    """
    if name in ("digits", "synthetic"):
        return
    if name == "cifar10":
        files = [file for file, _ in cifar.TRAIN_BATCHES + cifar.TEST_BATCHES]
        folders, suffixes = cifar.folders(), [""]
        fetch: Callable[[Path], Path] = _fetch_cifar10
    else:
        files = list(idx.FILES)
        folders, suffixes = idx.folders(name), ["", ".gz"]

        def fetch(folder: Path) -> Path:
            return _fetch_idx(name, folder)

    root = required_folder(name, data_dir, folders[0])
    try:
        locate(name, root, folders, files, suffixes)
        return
    except UserError:
        pass
    # Outside the try: an error of the import is not one of the download.
    import_torchvision()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=".download-", dir=root) as temporary,
            _timeout(_SILENCE_SECONDS),
        ):
            _install(fetch(Path(temporary)), root / folders[0])
    except (RuntimeError, URLError, TimeoutError, HTTPException) as error:
        # torchvision's messages have a line for each mirror.
        raise UserError(f"--download of {name} failed: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise UserError(f"--download of {name} into {root} failed: {error.strerror or error}") from error


def _fetch_idx(name: str, folder: Path) -> Path:
    utils = importlib.import_module("torchvision.datasets.utils")
    source = getattr(importlib.import_module("torchvision.datasets"), idx.FOLDERS[name])
    for file, md5 in source.resources:
        failures = []
        for mirror in source.mirrors:
            try:
                utils.download_url(mirror + file, str(folder), filename=file, md5=md5)
                break
            except (RuntimeError, OSError, HTTPException) as error:
                failures.append(f"{mirror}{file}: {error}")
        else:
            raise RuntimeError("; ".join(failures))
    return folder


def _fetch_cifar10(folder: Path) -> Path:
    utils = importlib.import_module("torchvision.datasets.utils")
    source = importlib.import_module("torchvision.datasets").CIFAR10
    utils.download_and_extract_archive(source.url, str(folder), filename=source.filename, md5=source.tgz_md5)
    return folder / cifar.FOLDER


def _install(fetched: Path, target: Path) -> None:
    """Rename the fetched files into `target`, except those that it has already."""
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(fetched.iterdir()):
        if not (target / file.name).exists():
            os.replace(file, target / file.name)


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
