"""Sizes of FedMNIST's messages: 60 rounds of 10 local steps each, the mean over rounds 10 to 60.

    python -m bench.messages --data-dir DIR [--csv FILE]

KB per message, headers included: what one client sends, and what the server sends to each.
Dense float32 takes 796.84 KB.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from bench import rows
from bench.jobs import read_run, train

ROUNDS, FIRST = 60, 10
SETTINGS: tuple[dict[str, Any], ...] = (
    {"density": 0.1, "bits": 32},
    {"density": 0.1, "bits": 8},
    {"density": 0.1, "bits": 8, "lattice": "shared"},
    {"density": 1.0, "bits": 32},
    {"density": 1.0, "bits": 8},
    {"density": 0.1, "bits": 32, "reference": "off"},
    {"density": 0.1, "bits": 8, "reference": "off"},
)
COLUMNS = (
    *("density", "bits", "lattice", "reference", "seed", "uplink_kb", "downlink_kb"),
    *("commit", "started", "cpu"),
)


def main() -> None:
    """Run every setting; print a row for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", required=True, help="folder with MNIST")
    parser.add_argument("--csv", type=Path, help="append the rows to this file")
    parser.add_argument("--ranks", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(f"{'density':>7} {'bits':>4} {'lattice':>7} {'reference':>9} {'up, KB':>8} {'down, KB':>8}")
    for setting in SETTINGS:
        row = measure(setting, arguments.data_dir, arguments.ranks, arguments.seed)
        print(
            f"{row['density']:>7} {row['bits']:>4} {row['lattice']:>7} {row['reference']:>9}"
            f" {row['uplink_kb']:8.2f} {row['downlink_kb']:8.2f}",
            flush=True,
        )
        if arguments.csv:
            rows.append(arguments.csv, COLUMNS, [row])


def measure(setting: Mapping[str, Any], data_dir: str, ranks: int, seed: int) -> dict[str, Any]:
    """Run one job; return its row."""
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "lattice": "own",
            "reference": "on",
            **setting,
            "dataset": "mnist",
            "local_steps": "fixed",
            "rounds": ROUNDS,
            "eval_every": ROUNDS,
            "seed": seed,
        }
        train(options | {"data_dir": data_dir, "out": f"{folder}/run"}, ranks=ranks, quiet=True)
        run = read_run(Path(folder, "run"))
    counted = [record for record in run.records if record.round >= FIRST]

    def kilobytes(direction: str, kind: str) -> float:
        """Return the mean over the counted rounds of the bytes of one client."""
        return (
            float(mean(getattr(getattr(each, direction), kind) / len(each.cohort) for each in counted)) / 1000
        )

    return {
        **{name: options[name] for name in ("density", "bits", "lattice", "reference", "seed")},
        "uplink_kb": round(kilobytes("uplink", "payload_bytes"), 3),
        "downlink_kb": round(kilobytes("downlink", "payload_bytes"), 3),
        **run.source(),
    }


if __name__ == "__main__":
    main()
