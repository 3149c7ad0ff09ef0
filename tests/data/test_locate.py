"""Files are found in the first complete folder, or the message says where they were looked for and what to
do."""

from pathlib import Path

import pytest

from fedcomloc_mpi.data.locate import locate, required_folder
from fedcomloc_mpi.errors import UserError

FILES = ("images", "labels")


def test_first_complete_folder_wins(tmp_path: Path) -> None:
    for folder, files in (("a", ["images"]), ("b", ["images.gz", "labels"]), ("c", FILES)):
        (tmp_path / folder).mkdir()
        for file in files:
            (tmp_path / folder / file).touch()
    found = locate("mnist", tmp_path, ("a", "b", "c"), FILES, suffixes=("", ".gz"))
    assert found == [tmp_path / "b" / "images.gz", tmp_path / "b" / "labels"]


def test_message_names_missing_files_of_the_fullest_folder(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "images").touch()
    with pytest.raises(UserError) as caught:
        locate("mnist", tmp_path, ("a", "b"), FILES, suffixes=("", ".gz"))
    message = str(caught.value)
    assert "did not find labels[.gz]; looked in " in message and "images" not in message
    assert str(tmp_path / "a") in message and str(tmp_path / "b") in message and "--download" in message
    assert "\n" not in message


def test_missing_data_dir_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the folder .*nowhere \(--data-dir\) does not exist"):
        locate("mnist", tmp_path / "nowhere", ("a",), FILES)


@pytest.mark.parametrize("data_dir", [None, ""])
def test_data_dir_is_required(data_dir: str | None) -> None:
    with pytest.raises(UserError, match="mnist needs --data-dir DIR, a folder that holds MNIST/raw"):
        required_folder("mnist", data_dir, "MNIST/raw")


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert required_folder("mnist", "~/data", "x") == Path("/home/somebody/data")
