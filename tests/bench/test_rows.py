import multiprocessing
from pathlib import Path

import pytest

from bench import rows

COLUMNS = ("name", "value")


def append_many(path: Path, name: str) -> None:
    for number in range(50):
        rows.append(path, COLUMNS, [{"name": name, "value": number}])


def test_rows_come_back_as_text(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.csv"
    assert rows.read(path) == []
    rows.append(path, COLUMNS, [{"name": "a, b", "value": None}])
    rows.append(path, COLUMNS, [{"name": "c", "value": 0.1}])
    assert rows.read(path) == [{"name": "a, b", "value": ""}, {"name": "c", "value": "0.1"}]
    assert rows.find(path, {"name": "c", "value": 0.1}) is not None
    assert rows.find(path, {"name": "c", "value": 1}) is None


def test_other_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows.append(path, COLUMNS, [{"name": "a", "value": 1}])
    with pytest.raises(ValueError, match="other columns"):
        rows.append(path, (*COLUMNS, "more"), [{}])
    assert len(rows.read(path)) == 1


def test_processes_may_append_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    workers = [
        multiprocessing.get_context("fork").Process(target=append_many, args=(path, name)) for name in "abc"
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = rows.read(path)
    assert len(found) == 150
    for name in "abc":
        assert [row["value"] for row in found if row["name"] == name] == [str(n) for n in range(50)]
