"""All methods on FedMNIST, each with the learning rate that suits it best, and what a divergence looks like.

    python -m bench.algorithms compare --data-dir DIR
    python -m bench.algorithms divergence --data-dir DIR
    python -m bench.algorithms write

`compare` runs every method for 100 rounds with each of the rates 0.01, 0.03, 0.05 and 0.1 and appends a row to
docs/results/algorithms.csv as each run ends. `divergence` runs rates at the edge of stability for 500 rounds,
and 0.05 beside them, with several seeds, and appends what the round records show to docs/results/divergence.csv. Runs
that have rows already are left out, so an interrupted series goes on where it stopped. Both end as `write` does: they
put their tables into docs/results/algorithms.md.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from bench.jobs import ROOT, ended
from bench.rows import append, find, read
from fedcomloc_mpi.metrics import RoundRecord

RATES = (0.01, 0.03, 0.05, 0.1)
# What competes under one name is tuned over: the best of all its options stands in the table.
METHODS: dict[str, list[dict[str, Any]]] = {
    "FedComLoc-Com, density 0.1": [{"algorithm": "fedcomloc-com", "density": 0.1}],
    "FedComLoc-Com, 8 bits": [{"algorithm": "fedcomloc-com", "density": 1.0, "bits": 8}],
    "FedComLoc-Com, density 0.1, 8 bits": [{"algorithm": "fedcomloc-com", "density": 0.1, "bits": 8}],
    "FedComLoc-Local, density 0.1": [{"algorithm": "fedcomloc-local", "density": 0.1}],
    "FedComLoc-Local, density 0.5": [{"algorithm": "fedcomloc-local", "density": 0.5}],
    "FedComLoc-Global, density 0.1": [{"algorithm": "fedcomloc-global", "density": 0.1}],
    "Com and Global, density 0.1": [
        {"algorithm": "fedcomloc-com", "density": 0.1, "downlink_density": 0.1},
    ],
    "Scaffnew": [{"algorithm": "scaffnew"}],
    "FedAvg": [{"algorithm": "fedavg"}],
    "sparseFedAvg, density 0.1": [{"algorithm": "sparsefedavg", "density": 0.1}],
    "Scaffold": [{"algorithm": "scaffold"}],
    "FedDyn": [{"algorithm": "feddyn", "feddyn_alpha": alpha} for alpha in (0.01, 0.1)],
}
FIGURES = (
    "status",
    "accuracy",
    "accuracy_compressed",
    "uplink_bytes",
    "downlink_bytes",
    "uplink_dense_bytes",
    "seconds",
)
COMPARED = ("method", "options", "lr", "rounds", "seed", "ranks", *FIGURES, "commit", "started", "cpu")
DIVERGENCE = (
    "algorithm",
    "density",
    "lr",
    "seed",
    "rounds",
    "round",
    "train_loss",
    "test_accuracy",
    "control_sum_norm",
    "commit",
)
KEYS = {COMPARED: COMPARED[:6], DIVERGENCE: DIVERGENCE[:5]}
# The sign of a coming divergence that docs/algorithms.md describes.
WINDOW, FACTOR = 20, 5.0


def main() -> None:
    """Run what has no rows yet, then write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("compare", "divergence", "write"))
    parser.add_argument("--data-dir", help="folder with MNIST")
    parser.add_argument("--ranks", type=int, default=11)
    parser.add_argument("--rounds", type=int, help="default 100, and 500 for the divergence")
    parser.add_argument("--seeds", type=int, nargs="+", help="default 0, and 0 1 2 for the divergence")
    parser.add_argument(
        "--methods", nargs="+", choices=list(METHODS), default=list(METHODS), metavar="METHOD"
    )
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES))
    parser.add_argument(
        "--results", type=Path, default=ROOT / "docs" / "results", help="folder for CSV files and page"
    )
    arguments = parser.parse_args()
    if arguments.what != "write" and not arguments.data_dir:
        parser.error("--data-dir is needed: a folder with MNIST")
    if arguments.what == "compare":
        compare(arguments, arguments.rounds or 100, arguments.seeds or [0])
    elif arguments.what == "divergence":
        diverge(arguments, arguments.rounds or 500, arguments.seeds or [0, 1, 2])
    write_page(arguments.results)


def compare(arguments: argparse.Namespace, rounds: int, seeds: Sequence[int]) -> None:
    """Run the methods with every rate."""
    path = arguments.results / "algorithms.csv"
    for seed in seeds:
        for method in arguments.methods:
            for options in METHODS[method]:
                for rate in arguments.rates:
                    shown = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in options.items())
                    named = (method, shown, rate, rounds, seed, arguments.ranks)
                    key = dict(zip(COMPARED, named, strict=False))
                    if not has_row(path, COMPARED, key):
                        run = {"lr": rate, "rounds": rounds, "seed": seed, "eval_every": rounds} | options
                        _, figures = train(arguments, run)
                        append(path, COMPARED, [key | figures])


def diverge(arguments: argparse.Namespace, rounds: int, seeds: Sequence[int]) -> None:
    """Run the default rate and larger ones, and keep the records of every round."""
    path = arguments.results / "divergence.csv"
    for seed in seeds:
        for algorithm, density, rate in (
            ("scaffnew", 1.0, 0.05),
            ("scaffnew", 1.0, 0.1),
            ("scaffnew", 1.0, 0.2),
            ("fedcomloc-com", 0.1, 0.05),
            ("fedcomloc-com", 0.1, 0.1),
        ):
            key = {"algorithm": algorithm, "density": density, "lr": rate, "seed": seed, "rounds": rounds}
            if not has_row(path, DIVERGENCE, key):
                records, figures = train(arguments, key | {"eval_every": 10})
                key["commit"] = figures["commit"]
                shown = ("round", "train_loss", "test_accuracy", "control_sum_norm")
                append(
                    path,
                    DIVERGENCE,
                    [key | {name: getattr(record, name) for name in shown} for record in records],
                )


def train(arguments: argparse.Namespace, options: dict[str, Any]) -> tuple[list[RoundRecord], dict[str, Any]]:
    """Run one job under mpirun; return its round records, and its figures with what made them."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        run = {**options, "dataset": "mnist", "data_dir": arguments.data_dir, "out": out}
        finished = ended(run, arguments.ranks)
    summary, reached = finished.summary, not finished.diverged
    # What a diverged run reached before is not what it is worth.
    return finished.records, {
        "status": summary["status"],
        "accuracy": summary["last_accuracy"] if reached else None,
        "accuracy_compressed": summary["last_accuracy_compressed"] if reached else None,
        "uplink_bytes": summary["uplink"]["payload_bytes"],
        "downlink_bytes": summary["downlink"]["payload_bytes"],
        "uplink_dense_bytes": summary["uplink"]["dense_bytes"],
        "seconds": round(summary["seconds"]["total"], 1),
        **finished.source(),
    }


def has_row(path: Path, columns: tuple[str, ...], key: dict[str, Any]) -> bool:
    """Say whether the file has a row for what `key` names."""
    return find(path, {name: key[name] for name in KEYS[columns]}) is not None


def write_page(results: Path) -> None:
    """Write algorithms.md from the CSV files."""
    compared, diverged = read(results / "algorithms.csv"), read(results / "divergence.csv")
    parts = ["# All methods on FedMNIST\n"]
    if compared:
        parts += [comparison(compared), every_rate(compared)]
    if diverged:
        parts.append(divergence(diverged))
    (results / "algorithms.md").write_text("\n".join(parts), encoding="utf-8")


def accuracy(rows: Sequence[dict[str, str]], name: str = "accuracy") -> float:
    """Return the mean over seeds; of a run that diverged, 0 counts."""
    return mean(float(row[name] or 0) for row in rows)


def grouped(rows: Sequence[dict[str, str]]) -> dict[str, dict[tuple[str, str], list[dict[str, str]]]]:
    """Return the rows of all seeds by method and by (options, rate)."""
    groups: dict[str, dict[tuple[str, str], list[dict[str, str]]]] = {}
    for row in rows:
        groups.setdefault(row["method"], {}).setdefault((row["options"], row["lr"]), []).append(row)
    return groups


def comparison(rows: Sequence[dict[str, str]]) -> str:
    """Return the table with the best rate of each method."""
    first = rows[0]
    seeds = sorted({int(row["seed"]) for row in rows})
    lines = [
        f"100 clients, 10 a round, Dirichlet(0.7), p = 0.1, batch 64, {first['rounds']} rounds, {first['ranks']} ranks,"
        f" seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}. Every method has the learning rate, of"
        f" {', '.join(sorted({row['lr'] for row in rows}, key=float))}, with which its model reaches the highest test"
        " accuracy after the last round. Bytes are encoded messages, headers included; dense float32 models would be"
        f" {float(first['uplink_dense_bytes']) / 1e6:.0f} MB in each direction. Seconds are wall-clock time of the"
        " rounds; where other jobs ran beside some of them, compare methods by the rest.\n",
        "| method | lr | accuracy | of C(x) | MB up | MB down | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, choices in grouped(rows).items():
        (options, rate), best = max(choices.items(), key=lambda choice: accuracy(choice[1]))
        name = method if len({options for options, _ in choices}) == 1 else f"{method} (`{options}`)"
        compressed = f"{accuracy(best, 'accuracy_compressed'):.4f}" if best[0]["accuracy_compressed"] else "-"
        up, down = (
            mean(float(row[side]) for row in best) / 1e6 for side in ("uplink_bytes", "downlink_bytes")
        )
        seconds = mean(float(row["seconds"]) for row in best)
        figures = f"{accuracy(best):.4f} | {compressed} | {up:.1f} | {down:.1f} | {seconds:.0f}"
        lines.append(f"| {name} | {rate} | {figures} |")
    made = sorted({row["commit"] for row in rows})
    lines.append(
        f"\n`python -m bench.algorithms compare --data-dir DIR --ranks {first['ranks']}` at commit"
        f" {', '.join(made)}, on {first['cpu']};"
        " every run is a row of [algorithms.csv](algorithms.csv).\n"
    )
    return "\n".join(lines)


def every_rate(rows: Sequence[dict[str, str]]) -> str:
    """Return the table of all rates."""
    rates = sorted({row["lr"] for row in rows}, key=float)
    lines = ["## Every learning rate\n", f"| method | {' | '.join(rates)} |", "|---" * (len(rates) + 1) + "|"]
    for method, choices in grouped(rows).items():
        for options in dict.fromkeys(options for options, _ in choices):
            cells = []
            for rate in rates:
                runs = choices.get((options, rate), [])
                lost = any(run["status"] == "diverged" for run in runs)
                cells.append("" if not runs else "diverged" if lost else f"{accuracy(runs):.4f}")
            name = method if len({each for each, _ in choices}) == 1 else f"{method} (`{options}`)"
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def divergence(rows: Sequence[dict[str, str]]) -> str:
    """Return the table of when runs diverged and when that could be seen."""
    runs: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        runs.setdefault(tuple(row[name] for name in KEYS[DIVERGENCE]), []).append(row)
    lines = [
        "## A coming divergence\n",
        f"The sign: a round whose `train_loss` is more than {FACTOR:g} times the median of the {WINDOW} rounds before"
        " (see [the methods](../algorithms.md#when-it-diverges)).\n",
        "| method | density | lr | seed | finite rounds | rounds with the sign | the first | test accuracy before it |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (algorithm, density, rate, seed, rounds), records in runs.items():
        signs = signs_in([float(record["train_loss"]) for record in records])
        evaluated = [record["test_accuracy"] for record in records[: signs[0] - 1 if signs else 0]]
        then = next((f"{float(value):.4f}" for value in reversed(evaluated) if value), "-")
        ended = f"{len(records)}" if len(records) < int(rounds) else f"all {rounds}"
        first = signs[0] if signs else "-"
        lines.append(
            f"| {algorithm} | {density} | {rate} | {seed} | {ended} | {len(signs)} | {first} | {then} |"
        )
    made = ", ".join(sorted({row["commit"] for row in rows}))
    seeds = " ".join(sorted({row["seed"] for row in rows}))
    lines.append(
        f"\n`python -m bench.algorithms divergence --data-dir DIR --seeds {seeds}` at commit {made}; every round is a"
        " row of [divergence.csv](divergence.csv).\n"
    )
    return "\n".join(lines)


def signs_in(losses: Sequence[float]) -> list[int]:
    """Return the rounds, from 1, whose loss is FACTOR times the median of the WINDOW rounds before."""
    return [
        end + 1
        for end in range(WINDOW, len(losses))
        if losses[end] > FACTOR * median(losses[end - WINDOW : end])
    ]


if __name__ == "__main__":
    main()
