"""Run folders with known figures, written as a run writes them."""

import json
from pathlib import Path
from typing import Any

from fedcomloc_mpi.config import make_config, to_toml
from fedcomloc_mpi.metrics import DirectionBytes, MaxSum, RoundRecord, RoundWriter, Status, Summary


def record(number: int, **changes: Any) -> RoundRecord:
    """A round whose figures follow from its number; every second one is evaluated."""
    evaluated = number % 2 == 0
    figures: dict[str, Any] = {
        "round": number,
        "local_steps": 10 + number,
        "cohort": [number % 5, 5 + number % 3],
        "train_loss": 1 / number,
        "control_sum_norm": 0.0,
        "uplink": DirectionBytes(100.0, 120.5, 1000 * number, 1100 * number),
        "downlink": DirectionBytes(200.0, 220.0, 2000, 2200, 3000),
        "server_seconds": {"wait": 0.5, "encode": 0.25, "other": 0.125},
        "client_seconds": {"compute": MaxSum(0.4, 0.6)},
        "test_loss": 2 / number if evaluated else None,
        "test_accuracy": 1 - 1 / number if evaluated else None,
        "test_accuracy_compressed": 0.9 - 1 / number if evaluated else None,
    }
    return RoundRecord(**(figures | changes))


def run_folder(folder: Path, rounds: int = 4, status: str = "finished", **options: Any) -> Path:
    """Write a run of some rounds; options: of its configuration. Return the folder."""
    folder.mkdir(parents=True)
    config = make_config(**({"clients": 9, "cohort": 2, "rounds": rounds} | options))
    (folder / "config.toml").write_text(to_toml(config))
    environment = {"source_version": "abc1234", "started": "2026-01-02T03:04:05Z", "cpu": "a CPU"}
    (folder / "environment.json").write_text(json.dumps(environment | {"ranks": 3, "cpus_available": 2}))
    summary = Summary(size=100, startup_seconds=1.5)
    with RoundWriter(folder / "rounds.jsonl") as writer:
        for number in range(1, rounds + 1):
            writer.write(record(number))
            summary.add(record(number))
    (folder / "summary.json").write_text(json.dumps(summary.to_dict(Status(status))))
    return folder
