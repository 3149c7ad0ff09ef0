import json

import pytest

from fedcomloc_mpi.metrics import Status, Summary
from tests.metrics.records import record


def test_totals() -> None:
    summary = Summary(size=1000, startup_seconds=4.5)
    summary.add(record(round=1))
    summary.add(record(round=2, accuracy=0.75, compressed=0.5, cohort=(1, 2, 3)))
    summary.add(record(round=3, accuracy=0.5, compressed=0.625))
    assert json.loads(json.dumps(summary.to_dict(Status.FINISHED), allow_nan=False)) == {
        "status": "finished",
        "message": None,
        "rounds": 3,
        "best_accuracy": 0.75,
        "best_accuracy_round": 2,
        "last_accuracy": 0.5,
        "best_accuracy_compressed": 0.625,
        "best_accuracy_compressed_round": 3,
        "last_accuracy_compressed": 0.625,
        "uplink": {
            "paper_bytes": 2400.375,
            "bound_bytes": 2404.5,
            "payload_bytes": 2700,
            "mpi_bytes": 3000,
            "dense_bytes": 4 * 1000 * 7,
        },
        "downlink": {
            "paper_bytes": 3600.0,
            "bound_bytes": 3604.5,
            "payload_bytes": 3900,
            "mpi_bytes": 4200,
            "device_bytes": 4500,
            "dense_bytes": 4 * 1000 * 7,
        },
        "seconds": {
            "total": 7.5,
            "startup": 4.5,
            "encode": 0.75,
            "wait": 5.25,
            "other": 1.5,
            "clients": {"compute": {"max": 4.5, "sum": 8.25}, "wait": {"max": 1.5, "sum": 1.875}},
        },
        "target_accuracy": None,
        "to_target": None,
    }


def test_the_first_round_at_the_target_counts() -> None:
    summary = Summary(size=1000, target_accuracy=0.75)
    for round, accuracy in [(1, None), (2, 0.5), (3, None), (4, 0.75), (5, 0.9), (6, 0.1)]:
        summary.add(record(round=round, accuracy=accuracy))
        assert summary.target_reached == (round >= 4)
    written = summary.to_dict(Status.TARGET)
    assert written["status"] == "target"
    assert written["to_target"] == {
        "rounds": 4,
        "bytes": 4 * (900 + 1300),
        "uplink_bytes": 3600,
        "downlink_bytes": 5200,
        "seconds": 10.0,
    }


def test_the_compressed_model_does_not_reach_the_target() -> None:
    summary = Summary(size=1000, target_accuracy=0.75)
    summary.add(record(accuracy=0.5, compressed=0.9))
    assert not summary.target_reached


@pytest.mark.parametrize("status", ["finished", "diverged", "interrupted", "target"])
def test_before_the_first_round(status: str) -> None:
    written = Summary(size=10).to_dict(Status(status), "stopped by SIGTERM")
    assert json.loads(json.dumps(written, allow_nan=False))["status"] == status
    assert written["message"] == "stopped by SIGTERM"
    assert written["rounds"] == written["seconds"]["total"] == 0
    assert written["last_accuracy"] is written["best_accuracy"] is None


def test_a_resumed_run_sums_to_the_same() -> None:
    records = [record(round=round, accuracy=0.1 * round) for round in range(1, 7)]
    once, twice = Summary(size=10), Summary(size=10)
    for one in records:
        once.add(one)
        twice.add(type(one).from_dict(json.loads(json.dumps(one.to_dict()))))
    assert once.to_dict(Status.FINISHED) == twice.to_dict(Status.FINISHED)
