import os
import stat
from pathlib import Path

import pytest

from fedcomloc_mpi.atomic_file import atomic_file, atomic_write
from fedcomloc_mpi.errors import UserError


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_atomic_write_replaces() -> None:
    atomic_write("file", "old")
    atomic_write(Path("file"), "new ü")
    assert Path("file").read_bytes() == "new ü".encode()
    atomic_write("file", b"\x00bytes")
    assert Path("file").read_bytes() == b"\x00bytes"
    assert os.listdir() == ["file"]


def test_atomic_write_respects_the_umask() -> None:
    before = os.umask(0o027)
    try:
        atomic_write("file", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat("file").st_mode) == 0o640


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_and_no_other(error: type[BaseException]) -> None:
    atomic_write("file", "old")
    with pytest.raises(error), atomic_file("file") as file:
        file.write(b"half")
        file.flush()
        assert len(os.listdir()) == 2, "the new file must not be written over the old one"
        raise error
    assert os.listdir() == ["file"]
    assert Path("file").read_text() == "old"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_is_one_clear_error(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(UserError, match=r"cannot write final.pt: No space left on device"):
        atomic_write("final.pt", b"weights")
    assert os.listdir() == []


def test_atomic_write_into_nowhere() -> None:
    with pytest.raises(UserError, match="cannot write absent/file: No such file or directory"):
        atomic_write("absent/file", "text")
