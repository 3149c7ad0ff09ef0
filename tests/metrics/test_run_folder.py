import errno
import json
import math
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.metrics import check_out, create_run_folder, write_json

NOW = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)
CONFIG = 'algorithm = "fedcomloc-com"\n'


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_default_folder_is_always_fresh() -> None:
    check_out(None)
    assert not Path("runs").exists(), "checking must not create anything"
    made = [create_run_folder(None, "digits", "fedcomloc-com", CONFIG, NOW) for _ in range(3)]
    name = "20250304T050607Z-digits-fedcomloc-com"
    assert made == [Path("runs", name), Path("runs", f"{name}-2"), Path("runs", f"{name}-3")]
    assert [(folder / "config.toml").read_text() for folder in made] == [CONFIG] * 3


def test_default_folder_is_named_by_utc() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    folder = create_run_folder(None, "digits", "scaffnew", CONFIG)
    named = datetime.strptime(folder.name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert before <= named <= datetime.now(UTC)


def test_names_that_would_leave_the_folder() -> None:
    folder = create_run_folder(None, "../my data", "fedavg", CONFIG, NOW)
    assert folder == Path("runs", "20250304T050607Z-.._my_data-fedavg")


def test_out_is_created_with_its_parents() -> None:
    assert create_run_folder("a/b c/d", "digits", "fedavg", CONFIG) == Path("a/b c/d")
    assert os.listdir("a/b c/d") == ["config.toml"]


def test_out_may_hold_something_else() -> None:
    Path("notes").mkdir()
    Path("notes/readme.txt").touch()
    create_run_folder("notes", "digits", "fedavg", CONFIG)
    assert sorted(os.listdir("notes")) == ["config.toml", "readme.txt"]


@pytest.mark.parametrize("name", ["config.toml", "rounds.jsonl", "final.pt", "checkpoints"])
def test_out_that_holds_a_run_is_refused(name: str) -> None:
    Path("old").mkdir()
    Path("old", name).touch()
    for attempt in (lambda: check_out("old"), lambda: create_run_folder("old", "digits", "fedavg", CONFIG)):
        with pytest.raises(UserError, match=f"--out old: the folder holds another run .{name}."):
            attempt()
    assert os.listdir("old") == [name]
    assert Path("old", name).read_text() == ""


def test_of_two_jobs_for_one_folder_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other job takes the folder after this one has looked."""
    monkeypatch.setattr("fedcomloc_mpi.metrics.run_folder.check_out", lambda out: None)
    create_run_folder("same", "digits", "fedavg", CONFIG)
    with pytest.raises(UserError, match="holds another run"):
        create_run_folder("same", "digits", "fedavg", "other\n")
    assert Path("same/config.toml").read_text() == CONFIG


@pytest.mark.parametrize("out", ["file", "file/below/it"])
def test_out_that_is_no_folder(out: str) -> None:
    Path("file").touch()
    for attempt in (lambda: check_out(out), lambda: create_run_folder(out, "digits", "fedavg", CONFIG)):
        with pytest.raises(UserError, match=f"--out {out}: .*file is not a folder"):
            attempt()


def test_runs_that_is_no_folder() -> None:
    Path("runs").touch()
    with pytest.raises(UserError, match="runs is not a folder"):
        create_run_folder(None, "digits", "fedavg", CONFIG)


def test_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    # Asked of the system through os.access: the tests may run as root, whom nothing is forbidden.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match="--out x: no permission to write in"):
        check_out("x")


def test_write_json() -> None:
    write_json("summary.json", {"status": "finished", "accuracy": None})
    assert json.loads(Path("summary.json").read_text()) == {"status": "finished", "accuracy": None}
    assert Path("summary.json").read_text().endswith("}\n")
    with pytest.raises(ValueError, match="JSON"):
        write_json("bad.json", {"loss": math.nan})
    assert os.listdir() == ["summary.json"]


def test_a_full_disk_leaves_no_run_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"cannot write out/config\.toml: No space left on device"):
            create_run_folder("out", "digits", "fedavg", CONFIG)
    assert list(Path("out").iterdir()) == []
    assert create_run_folder("out", "digits", "fedavg", CONFIG) == Path("out")
