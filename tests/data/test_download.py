"""Downloads arrive whole, checked, in torchvision's layout, from a server on this machine."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fedcomloc_mpi.data import cifar, download, idx, import_torchvision, load
from fedcomloc_mpi.errors import UserError
from tests.data.idx_files import IdxFolder


class QuietHandler(SimpleHTTPRequestHandler):
    """Serve files without a log."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """Serve a folder over HTTP; return its address and the folder."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/", folder
        http.shutdown()
        thread.join()


def torchvision_class(name: str) -> Any:
    import_torchvision()
    from torchvision import datasets

    return getattr(datasets, name)


@pytest.fixture
def mnist_server(server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IdxFolder:
    """Serve a made-up MNIST behind a first mirror that has nothing."""
    address, folder = server
    source = IdxFolder(folder / "mnist")
    sums = [(f"{n}.gz", hashlib.md5(source.gz(n).read_bytes()).hexdigest()) for n in idx.FILES]
    monkeypatch.setattr(torchvision_class("MNIST"), "resources", sums)
    monkeypatch.setattr(torchvision_class("MNIST"), "mirrors", [f"{address}gone/", f"{address}mnist/"])
    return source


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_mnist_into_a_new_folder(mnist_server: IdxFolder, tmp_path: Path) -> None:
    root = tmp_path / "new" / "data"
    dataset = load("mnist", root, download=True)
    assert len(dataset.train_labels) == 40
    assert listing(root) == sorted(f"MNIST/raw/{name}.gz" for name in idx.FILES)
    assert sorted(path.name for path in root.iterdir()) == ["MNIST"]


def test_present_files_stay(mnist_server: IdxFolder, tmp_path: Path) -> None:
    own = IdxFolder(tmp_path / "data" / "MNIST" / "raw", train=7, test=3)
    own.gz(idx.FILES[2]).unlink()
    kept = own.gz(idx.FILES[0]).read_bytes()
    download("mnist", tmp_path / "data")
    assert own.gz(idx.FILES[0]).read_bytes() == kept
    assert own.gz(idx.FILES[2]).read_bytes() == mnist_server.gz(idx.FILES[2]).read_bytes()


def test_complete_folder_needs_no_network(
    mnist_folder: IdxFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision_class("MNIST"), "mirrors", [])
    download("mnist", tmp_path)
    download("digits", None)


def test_wrong_md5_leaves_nothing(mnist_server: IdxFolder, tmp_path: Path) -> None:
    mnist_server.rewrite(idx.FILES[3], b"something else")
    with pytest.raises(UserError, match=r"--download of mnist failed: .*gone/.*corrupted") as caught:
        download("mnist", tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "data").iterdir()) == []


def test_server_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(torchvision_class("MNIST"), "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(UserError, match=r"--download of mnist failed: http://127.0.0.1:9/"):
        download("mnist", tmp_path / "data")


def test_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--download of mnist into .*file/data failed: Not a directory"):
        download("mnist", tmp_path / "file" / "data")
    with pytest.raises(UserError, match="mnist needs --data-dir"):
        download("mnist", None)


def test_cifar10_is_unpacked(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = server
    files = [file for file, _ in cifar.TRAIN_BATCHES + cifar.TEST_BATCHES]
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as archive:
        for file in files:
            entry = tarfile.TarInfo(f"{cifar.FOLDER}/{file}")
            entry.size = len(file)
            archive.addfile(entry, io.BytesIO(file.encode()))
    source = torchvision_class("CIFAR10")
    monkeypatch.setattr(source, "url", f"{address}cifar-10-python.tar.gz")
    content = (folder / "cifar-10-python.tar.gz").read_bytes()
    monkeypatch.setattr(source, "tgz_md5", hashlib.md5(content).hexdigest())
    download("cifar10", tmp_path / "data")
    assert listing(tmp_path / "data") == sorted(f"{cifar.FOLDER}/{file}" for file in files)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [cifar.FOLDER]
