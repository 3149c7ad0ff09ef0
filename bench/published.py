"""The published jobs, FedMNIST and FedCIFAR10, at full length.

    python -m bench.published --data-dir DIR --csv docs/results/fedmnist.csv

runs FedMNIST with 11 ranks, 500 rounds, seeds 0, 1, 2 and densities 1 and 0.1, then FedCIFAR10 for 50 rounds with both,
and appends a row to the CSV file as each job ends; jobs that have a row already are left out, so an interrupted series
goes on where it stopped. At the end it prints the means over seeds.
"""

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import mean

from bench.jobs import ended
from bench.rows import append, find, read

KEY = ("dataset", "algorithm", "density", "bits", "rounds", "seed", "ranks")
FIGURES = (
    "status",
    "accuracy",
    "accuracy_compressed",
    "uplink_bytes",
    "downlink_bytes",
    "seconds",
    "startup_seconds",
)
COLUMNS = (*KEY, *FIGURES, "commit", "started", "cpu")


def main() -> None:
    """Run the jobs that have no row yet, then print means."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", required=True, help="folder with MNIST and CIFAR-10")
    parser.add_argument("--csv", type=Path, required=True, help="rows go here")
    parser.add_argument("--ranks", type=int, default=11)
    parser.add_argument("--rounds", type=int, default=500, help="rounds of FedMNIST")
    parser.add_argument("--cifar-rounds", type=int, default=50)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    jobs = [
        {"dataset": "mnist", "density": density, "rounds": arguments.rounds, "seed": seed}
        for seed in arguments.seeds
        for density in (1.0, 0.1)
    ]
    jobs += [
        {"dataset": "cifar10", "density": density, "rounds": arguments.cifar_rounds, "seed": 0}
        for density in (1.0, 0.1)
    ]
    for job in jobs:
        full = {"algorithm": "fedcomloc-com", "bits": 32, "ranks": arguments.ranks} | job
        if find(arguments.csv, {name: full[name] for name in KEY}) is None:
            append(arguments.csv, COLUMNS, [full | run(full, arguments.data_dir)])
    print_means(arguments.csv)


def run(job: dict[str, object], data_dir: str) -> dict[str, object]:
    """Run one job under mpirun; return its figures and what made them."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        options = {name: value for name, value in job.items() if name != "ranks"}
        finished = ended(options | {"data_dir": data_dir, "out": out}, int(str(job["ranks"])))
    summary = finished.summary
    return {
        "status": summary["status"],
        "accuracy": summary["last_accuracy"],
        "accuracy_compressed": summary["last_accuracy_compressed"],
        "uplink_bytes": summary["uplink"]["payload_bytes"],
        "downlink_bytes": summary["downlink"]["payload_bytes"],
        "seconds": round(summary["seconds"]["total"], 1),
        "startup_seconds": round(summary["seconds"]["startup"], 1),
        **finished.source(),
    }


def print_means(path: Path) -> None:
    """Print a Markdown table of means over seeds."""
    groups = defaultdict(list)
    for row in read(path):
        groups[row["dataset"], row["density"], row["rounds"], row["ranks"]].append(row)
    print("| data set | density | rounds | ranks | seeds | accuracy | of C(x) | MB up | MB down | seconds |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (dataset, density, rounds, ranks), rows in sorted(groups.items()):

        def average(name: str, rows: list[dict[str, str]] = rows) -> float:
            return mean(float(row[name]) for row in rows)

        compressed = f"{average('accuracy_compressed'):.4f}" if rows[0]["accuracy_compressed"] else "-"
        seeds = " ".join(sorted(row["seed"] for row in rows))
        figures = f"{average('accuracy'):.4f} | {compressed} | {average('uplink_bytes') / 1e6:.0f}"
        figures += f" | {average('downlink_bytes') / 1e6:.0f} | {average('seconds'):.0f}"
        print(f"| {dataset} | {density} | {rounds} | {ranks} | {seeds} | {figures} |")


if __name__ == "__main__":
    main()
