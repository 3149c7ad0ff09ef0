"""Run folders are read whole or refused in one line that names the file."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.reporting import find_runs, labelled, read_run
from tests.reporting.folders import record, run_folder


def test_a_run_is_what_its_folder_holds(tmp_path: Path) -> None:
    run = read_run(run_folder(tmp_path / "run"))
    assert (run.status, run.accuracy, run.accuracy_compressed) == ("finished", 0.75, 0.65)
    assert run.participation() == {0: 0, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 2, 7: 1, 8: 0}
    assert run.server_seconds() == {"wait": 2.0, "encode": 1.0, "other": 0.5}
    assert run.client_seconds() == {"compute": pytest.approx(1.6)}


def test_a_diverged_run_has_no_accuracy(tmp_path: Path) -> None:
    assert read_run(run_folder(tmp_path / "run", status="diverged")).accuracy is None


def test_a_killed_run_is_unfinished(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    (folder / "summary.json").unlink()
    with (folder / "rounds.jsonl").open("a") as file:
        file.write('{"round":5,"local')
    run = read_run(folder)
    assert (run.status, len(run.records)) == ("unfinished", 4)


def test_a_folder_of_runs_stands_for_them(tmp_path: Path) -> None:
    second, first = run_folder(tmp_path / "b"), run_folder(tmp_path / "a")
    assert find_runs([tmp_path, first]) == [first, second]


def test_labels_say_what_differs(tmp_path: Path) -> None:
    paths = [run_folder(tmp_path / str(seed), seed=seed, density=0.2) for seed in (1, 2)]
    assert [run.label for run in labelled([read_run(path) for path in paths])] == ["seed 1", "seed 2"]
    twins = [read_run(run_folder(tmp_path / name / "run")) for name in ("x", "y")]
    assert [run.label for run in labelled(twins)] == [str(run.folder) for run in twins]


def line(**changes: Any) -> str:
    return json.dumps(record(1).to_dict() | changes) + "\n"


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("rounds.jsonl", ""),
        ("rounds.jsonl", "[" * 100_000 + "\n"),
        ("rounds.jsonl", line(test_accuracy=float("nan"))),
        ("rounds.jsonl", line(test_accuracy=7)),
        ("rounds.jsonl", line(round=10**400)),
        ("rounds.jsonl", line(cohort=[-1])),
        ("rounds.jsonl", line(uplink=3)),
        ("rounds.jsonl", line(local_steps=1).replace('"payload_bytes": 1000', '"payload_bytes": 1e300')),
        ("config.toml", "= broken"),
        ("config.toml", "x = " + "[" * 100_000),
        ("config.toml", None),
        ("environment.json", "[1]"),
        ("environment.json", "[" * 100_000),
        ("summary.json", "{"),
        ("summary.json", b"\xff\xfe"),
    ],
)
def test_hostile_files_are_named(tmp_path: Path, name: str, contents: str | bytes | None) -> None:
    folder = run_folder(tmp_path / "run")
    if contents is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    with pytest.raises(UserError) as error:
        read_run(folder)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_pipe_is_no_record(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    (folder / "rounds.jsonl").unlink()
    os.mkfifo(folder / "rounds.jsonl")
    with pytest.raises(UserError, match="regular file"):
        read_run(folder)


@pytest.mark.parametrize("missing", [True, False])
def test_what_is_no_run_is_said(tmp_path: Path, missing: bool) -> None:
    with pytest.raises(UserError, match="no such folder" if missing else "no run"):
        find_runs([tmp_path / "missing" if missing else tmp_path])
