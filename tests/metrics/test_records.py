import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.metrics import (
    DirectionBytes,
    MaxSum,
    RoundWriter,
    Status,
    Summary,
    end_table,
    over_ranks,
    read_rounds,
)
from tests.metrics.records import record


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line, parse_constant=refuse_constant) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rounds.jsonl"


def test_line_of_an_evaluated_round(path: Path) -> None:
    with RoundWriter(path) as writer:
        writer.write(record(round=10, accuracy=0.875, compressed=0.75))
    text = path.read_text()
    assert text.endswith("}\n")
    assert text.count("\n") == 1
    assert lines_of(path) == [
        {
            "round": 10,
            "local_steps": 11,
            "cohort": [3, 14],
            "train_loss": 0.75,
            "test_loss": 0.5,
            "test_accuracy": 0.875,
            "test_accuracy_compressed": 0.75,
            "control_sum_norm": 1e-6,
            "uplink": {
                "paper_bytes": 800.125,
                "bound_bytes": 801.5,
                "payload_bytes": 900,
                "mpi_bytes": 1000,
                "coders": {"tokens": 2, "float32": 2},
            },
            "downlink": {
                "paper_bytes": 1200.0,
                "bound_bytes": 1201.5,
                "payload_bytes": 1300,
                "mpi_bytes": 1400,
                "device_bytes": 1500,
                "coders": {},
            },
            "seconds": {
                "round": 2.5,
                "encode": 0.25,
                "wait": 1.75,
                "other": 0.5,
                "clients": {
                    "compute": {"max": 1.5, "sum": 2.75},
                    "wait": {"max": 0.5, "sum": 0.625},
                },
            },
        }
    ]


def test_figures_not_evaluated_are_null(path: Path) -> None:
    with RoundWriter(path) as writer:
        writer.write(record())
    (line,) = lines_of(path)
    assert line["test_loss"] is line["test_accuracy"] is line["test_accuracy_compressed"] is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, float(np.float32("nan"))])
def test_figures_not_finite_are_null(path: Path, value: float) -> None:
    diverged = replace(
        record(), train_loss=value, test_loss=value, test_accuracy=value, control_sum_norm=value
    )
    with RoundWriter(path) as writer:
        writer.write(diverged)
    (line,) = lines_of(path)
    assert (
        line["train_loss"] is line["test_loss"] is line["test_accuracy"] is line["control_sum_norm"] is None
    )


def test_numpy_scalars_are_plain_numbers(path: Path) -> None:
    plain = record(round=2, accuracy=0.5)
    counts: tuple[Any, ...] = (np.float64(800.125), 801.5, np.int64(900), np.int32(1000))
    figures: dict[str, Any] = {
        "round": np.int64(2),
        "cohort": np.array([3, 14]),
        "train_loss": np.float32(0.75),
        "test_accuracy": np.float64(0.5),
    }
    strange = replace(plain, **figures, uplink=replace(DirectionBytes(*counts), coders=plain.uplink.coders))
    with RoundWriter(path) as writer:
        writer.write(plain)
        writer.write(strange)
    first, second = path.read_text().splitlines()
    assert first == second


def test_every_line_is_there_when_write_returns(path: Path) -> None:
    writer = RoundWriter(path)
    for count in (1, 2, 3):
        writer.write(record(round=count))
        assert [line["round"] for line in lines_of(path)] == list(range(1, count + 1))
    writer.close()
    writer.close()
    with RoundWriter(path) as second:
        second.write(record(round=4))
    assert len(lines_of(path)) == 4


def test_reading_gives_back_what_was_written(path: Path) -> None:
    written = [
        record(round=1),
        record(round=2, accuracy=0.5),
        record(round=3, accuracy=0.25, compressed=0.125),
    ]
    with RoundWriter(path) as writer:
        for one in written:
            writer.write(one)
    assert read_rounds(path) == (written, False)


def test_a_line_cut_off_is_left_out_and_reported(path: Path) -> None:
    with RoundWriter(path) as writer:
        writer.write(record(round=1))
        whole = path.stat().st_size
        writer.write(record(round=2))
    content = path.read_bytes()
    for end in range(whole, len(content)):
        path.write_bytes(content[:end])
        assert read_rounds(path) == ([record(round=1)], end > whole)


def test_further_keys_are_ignored(path: Path) -> None:
    path.write_text(json.dumps(record().to_dict() | {"learning_rate": 0.1}) + "\n")
    assert read_rounds(path).records == [record()]


@pytest.mark.parametrize(
    "line", ["", "not json", "[]", "null", "{}", '{"round": 1}', "[" * 100_000, "\xff", "DAMAGED"]
)
def test_a_damaged_line_is_named(path: Path, line: str) -> None:
    good = json.dumps(record().to_dict())
    bad = good.replace('"round": 1,', '"round": 1e999,') if line == "DAMAGED" else line
    path.write_text(f"{good}\n{bad}\n{good}\n", encoding="latin-1")
    with pytest.raises(UserError, match=r"rounds.jsonl, line 2: not a round record"):
        read_rounds(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*No such file"):
        read_rounds(tmp_path / "rounds.jsonl")
    with pytest.raises(UserError, match=r"cannot write .*No such file"):
        RoundWriter(tmp_path / "absent" / "rounds.jsonl")


def test_full_disk() -> None:
    with pytest.raises(UserError, match=r"cannot write /dev/full: No space left"):
        RoundWriter("/dev/full").write(record())


def test_maximum_and_sum_over_ranks() -> None:
    laps = [{"compute": 1.5, "wait": 0.25}, {"compute": 0.5, "wait": 2.0}, {"compute": 1.0, "wait": 0.0}]
    assert over_ranks(laps) == {"compute": MaxSum(1.5, 3.0), "wait": MaxSum(2.0, 2.25)}
    assert over_ranks([]) == {}


def test_lost_ranks_are_named_where_there_are_any(path: Path) -> None:
    with RoundWriter(path) as writer:
        writer.write(record(1))
        writer.write(replace(record(2), lost_ranks=(3, 8)))
    without, with_losses = map(json.loads, path.read_text().splitlines())
    assert "lost_ranks" not in without
    assert with_losses["lost_ranks"] == [3, 8]
    assert [list(each.lost_ranks) for each in read_rounds(path).records] == [[], [3, 8]]
    summary = Summary(size=10)
    for each in read_rounds(path).records:
        summary.add(each)
    totals = summary.to_dict(Status.FINISHED)
    assert totals["lost_ranks"] == [{"rank": 3, "round": 2}, {"rank": 8, "round": 2}]
    assert "rank 8 was lost in round 2" in end_table(totals, "a run")
