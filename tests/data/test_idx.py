"""idx files: what is written is read back; damaged or hostile files are one clear line and take no memory."""

import gzip
import hashlib
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcomloc_mpi.data import idx, import_torchvision
from fedcomloc_mpi.errors import UserError
from tests.data.idx_files import IdxFolder, idx_bytes

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = idx.FILES


def test_constants_are_torchvisions() -> None:
    import_torchvision()
    from torchvision import datasets

    for name, folder in idx.FOLDERS.items():
        source = getattr(datasets, folder)
        assert [file for file, _ in source.resources] == [f"{file}.gz" for file in idx.FILES]
        assert dict(source.resources)[f"{TRAIN_LABELS}.gz"] == idx.TRAIN_LABELS_MD5[name]
        assert len(source.classes) == idx.CLASSES


def test_reads_what_was_written(mnist_folder: IdxFolder, tmp_path: Path) -> None:
    raw = idx.read("mnist", tmp_path)
    arrays = mnist_folder.arrays
    np.testing.assert_array_equal(raw.train_images[:, 0], arrays[TRAIN_IMAGES])
    np.testing.assert_array_equal(raw.train_labels, arrays[TRAIN_LABELS])
    np.testing.assert_array_equal(raw.test_images[:, 0], arrays[TEST_IMAGES])
    np.testing.assert_array_equal(raw.test_labels, arrays[TEST_LABELS])


@pytest.mark.parametrize("below", ["", "raw", "MNIST/raw"])
def test_searched_folders_plain_or_gzip(below: str, tmp_path: Path) -> None:
    source = IdxFolder(tmp_path / "elsewhere")
    root = tmp_path / "root"
    (root / below).mkdir(parents=True)
    for number, (name, array) in enumerate(source.arrays.items()):
        if number % 2:
            (root / below / name).write_bytes(idx_bytes(array))
        else:
            source.gz(name).rename(root / below / f"{name}.gz")
    np.testing.assert_array_equal(idx.read("mnist", root).test_labels, source.arrays[TEST_LABELS])


@given(cut=st.integers(0, 200))
def test_truncated_gzip_names_the_file(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    content = gzip.compress(idx_bytes(np.arange(250, dtype=np.uint8)))
    path = tmp_path_factory.mktemp("cut") / "labels.gz"
    path.write_bytes(content[:cut])
    with pytest.raises(UserError, match=f"^{path}: (truncated|damaged gzip file)"):
        idx.read_file(path, (), 1000)


def test_damaged_gzip(mnist_folder: IdxFolder, tmp_path: Path) -> None:
    path = mnist_folder.gz(TRAIN_IMAGES)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{path}: damaged gzip file"):
        idx.read("mnist", tmp_path)


def test_not_a_gzip_file(mnist_folder: IdxFolder, tmp_path: Path) -> None:
    path = mnist_folder.gz(TRAIN_IMAGES)
    path.write_bytes(b"<html>404</html>")
    with pytest.raises(UserError, match=f"^{path}: damaged gzip file"):
        idx.read("mnist", tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (TRAIN_LABELS, b"\0\0\x08\x03" + bytes(12), "starts with 0x00000803, not 0x00000801"),
        (TRAIN_IMAGES, b"PK\3\4" + bytes(12), "starts with 0x504b0304, not 0x00000803"),
        (TRAIN_IMAGES, b"\0\0\x08", "truncated: 3 bytes, the header alone has 16"),
        (TRAIN_IMAGES, struct.pack(">4I", 0x803, 40, 32, 32), "images of 32 x 32, expected 28 x 28"),
        (TRAIN_IMAGES, struct.pack(">4I", 0x803, 0, 28, 28), "announces 0 items, expected 1 to 60000"),
        (TEST_IMAGES, struct.pack(">4I", 0x803, 10_001, 28, 28), "10001 items, expected 1 to 10000"),
        (TRAIN_IMAGES, struct.pack(">4I", 0x803, 40, 28, 28) + bytes(9), "truncated: 9 bytes of data"),
        (TRAIN_IMAGES, struct.pack(">4I", 0x803, 1, 28, 28) + bytes(785), "more than the 784 bytes"),
        (TRAIN_IMAGES, idx_bytes(np.zeros((3, 28, 28), np.uint8)), "3 images, but .* holds 40 labels"),
        (TRAIN_LABELS, idx_bytes(np.full(40, 10, np.uint8)), "holds the label 10, expected 0 to 9"),
    ],
)
def test_wrong_content(name: str, content: bytes, says: str, mnist_folder: IdxFolder, tmp_path: Path) -> None:
    path = mnist_folder.rewrite(name, content)
    with pytest.raises(UserError, match=f"^{path}: .*{says}"):
        idx.read("mnist", tmp_path)


@pytest.mark.parametrize("count", [1, 0xFFFF_FFFF])
def test_gzip_bomb_takes_no_memory(count: int, mnist_folder: IdxFolder, tmp_path: Path) -> None:
    bomb = struct.pack(">4I", 0x803, count, 28, 28) + bytes(256 << 20)
    path = mnist_folder.rewrite(TRAIN_IMAGES, bomb)
    del bomb
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=str(path)):
            idx.read("mnist", tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_one_data_set_does_not_pass_for_the_other(
    mnist_folder: IdxFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    md5 = hashlib.md5(mnist_folder.gz(TRAIN_LABELS).read_bytes()).hexdigest()
    monkeypatch.setitem(idx.TRAIN_LABELS_MD5, "mnist", md5)
    assert len(idx.read("mnist", mnist_folder.folder).train_labels) == 40
    with pytest.raises(UserError, match="belongs to mnist, not to --dataset fashionmnist"):
        idx.read("fashionmnist", mnist_folder.folder)
    # Below the folder of the other set's name nothing is looked for at all.
    with pytest.raises(UserError, match="did not find"):
        idx.read("fashionmnist", tmp_path)


def test_unreadable_file(mnist_folder: IdxFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    # File modes do not stop root, who may run this test.
    monkeypatch.setattr(gzip, "open", refuse)
    with pytest.raises(UserError, match=r"cannot be read \(Permission denied\)"):
        idx.read("mnist", tmp_path)
