"""The tables and plots of the study, from the rows and curves that bench.paper has written.

    python -m bench.paper_page

writes RESULTS.md (docs/results/paper.md) and, into RESULTS, plots. It needs no run folders, runs nothing, and says
which runs are still missing.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from bench import curves, rows
from bench.budgets import accuracy_within, needed_for
from bench.grid import Cell, Part, read_grid
from bench.jobs import ROOT
from bench.paper_plots import Line, plot
from fedcomloc_mpi.reporting import Point

# The paper's FedMNIST (arXiv 2403.09904): the accuracy at density 0.1, and how far that is below the uncompressed.
PUBLISHED_ACCURACY, PUBLISHED_LOSS = 0.9374, 0.0394
TARGETS = (0.90, 0.93)
MEASURES: dict[str, Callable[[Point], float]] = {
    "up": lambda point: point.uplink_payload / 1e6,
    "down": lambda point: point.downlink_payload / 1e6,
    "both directions": lambda point: point.payload / 1e6,
}


@dataclass(frozen=True)
class Result:
    """What the runs of one configuration came to, one row and one curve for each seed that has ended."""

    name: str
    rows: Sequence[dict[str, str]]
    curves: Sequence[Sequence[Point]]

    @property
    def diverged(self) -> bool:
        """Whether any seed did."""
        return any(row["status"] == "diverged" for row in self.rows)

    def figures(self, column: str) -> list[float]:
        """Return the figures of all seeds that have one."""
        return [float(row[column]) for row in self.rows if row[column]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page and the plots."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.paper_page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--grid", type=Path, default=ROOT / "bench" / "paper.toml")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results" / "paper")
    parser.add_argument("--rounds", type=int, help="as given to bench.paper")
    parser.add_argument("--seeds", type=int, nargs="+", help="as given to bench.paper")
    parser.add_argument("--title", default="The study of the paper")
    chosen = parser.parse_args(arguments)
    grid = read_grid(chosen.grid, chosen.rounds, chosen.seeds)
    page = chosen.results.with_suffix(".md")
    page.write_text(document(grid, chosen.results, chosen.title), encoding="utf-8")
    print(f"written: {page}")
    return 0


def document(parts: dict[str, Part], folder: Path, title: str) -> str:
    """Return the page; plots go to `folder`."""
    found = {name: results_of(part, folder) for name, part in parts.items()}
    ended = [row for results in found.values() for result in results for row in result.rows]
    if not ended:
        return f"# {title}\n\nNo run has ended yet.\n"
    sections = [f"# {title}\n", source(ended, folder)]
    for name, part in parts.items():
        results = [result for result in found[name] if result.rows]
        if not results:
            continue
        sections += [f"## {part.title}\n", missing(part, folder), settings(part), table(results)]
        sections += pictures(name, results, folder)
        if name == "fedmnist":
            sections += [published(results), to_targets(results), equal_bytes(results)]
    return "\n".join(section for section in sections if section)


def results_of(part: Part, folder: Path) -> list[Result]:
    """Return a result for each configuration of a part, with the options that the grid gives it now."""
    by_name: dict[str, tuple[list[dict[str, str]], list[list[Point]]]] = {
        name: ([], []) for name in part.runs
    }
    for cell in part.cells():
        row = row_of(cell, folder)
        if row is not None:
            ended, of_seeds = by_name[cell.name]
            ended.append(row)
            of_seeds.append(curves.read(folder / "curves" / cell.curve))
    return [Result(name, ended, of_seeds) for name, (ended, of_seeds) in by_name.items()]


def row_of(cell: Cell, folder: Path) -> dict[str, str] | None:
    """Return the row of a run, None if it has not ended."""
    key = {"part": cell.part, "name": cell.name, "seed": cell.seed, "options": cell.shown}
    return rows.find(folder / "runs.csv", key)


def source(ended: Sequence[dict[str, str]], folder: Path) -> str:
    """Return where the figures come from."""
    commits = ", ".join(sorted({row["commit"] for row in ended}))
    machines = ", ".join(
        sorted({f"{row['cpus']} cores of {row['cpu']}, {row['ranks']} ranks" for row in ended})
    )
    dates = sorted(row["started"][:10] for row in ended)
    days = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    return (
        f"`python -m bench.paper --data-dir DIR`, commit {commits}, {days}, {machines}. Every run is a row of"
        f" [runs.csv]({folder.name}/runs.csv), with its command; what it had reached at each evaluation, and at what"
        f" cost, is in `{folder.name}/curves/`. `python -m bench.paper_page` makes this page from them.\n\n"
        "Accuracy is that of the model on the test set after the last round, the mean over seeds and, in brackets, the"
        " lowest and the highest. Up and down are encoded messages, headers included, in MB and as a part of what dense"
        " float32 models would take; paper MB is the count of the literature, entries kept x bits, indices free, both"
        " directions. Total cost is 1 for each round and 0.01 for each local step. Other jobs ran on the machine: take"
        " seconds as a hint.\n"
    )


def missing(part: Part, folder: Path) -> str:
    """Return which runs of a part have not ended; nothing if all have."""
    cells = list(part.cells())
    waiting = [cell for cell in cells if row_of(cell, folder) is None]
    if not waiting:
        return ""
    seeds: dict[int, list[str]] = {}
    for cell in waiting:
        seeds.setdefault(cell.seed, []).append(cell.name)
    names = "; ".join(
        f"seed {seed}: {'all' if len(names) == len(part.runs) else ', '.join(names)}"
        for seed, names in seeds.items()
    )
    return f"*Still to come: {len(waiting)} of {len(cells)} runs ({names}).*\n"


def settings(part: Part) -> str:
    """Return the options that all configurations of a part share, and its seeds."""
    options = [dict(run) for run in part.runs.values()]
    shared = {name: value for name, value in options[0].items() if all(o.get(name) == value for o in options)}
    shown = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in shared.items())
    seeds = ", ".join(map(str, part.seeds))
    return f"All with `{shown}`, seed{'s' if len(part.seeds) > 1 else ''} {seeds}.\n"


def table(results: Sequence[Result]) -> str:
    """Return the table of a part."""
    lines = [
        "| configuration | lr | seeds | accuracy | of C(x) | MB up | MB down | paper MB | total cost | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        rate = next(
            (word[5:] for word in result.rows[0]["options"].split() if word.startswith("--lr=")), "default"
        )
        paper = (
            sum(mean(result.figures(f"{side}_paper_bytes") or [0.0]) for side in ("uplink", "downlink")) / 1e6
        )
        cells = (
            result.name,
            rate,
            str(len(result.rows)),
            band(result),
            mean_of(result, "accuracy_compressed", "{:.4f}"),
            volume(result, "uplink"),
            volume(result, "downlink"),
            f"{paper:.0f}",
            mean_of(result, "total_cost", "{:.0f}"),
            mean_of(result, "seconds", "{:.0f}"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def band(result: Result) -> str:
    """Return mean, lowest and highest accuracy over the seeds that have not diverged, and how many have."""
    accuracies = result.figures("accuracy")
    lost = sum(row["status"] == "diverged" for row in result.rows)
    diverged = f"{lost} of {len(result.rows)} diverged" if lost else ""
    if not accuracies:
        return diverged
    middle = f"{mean(accuracies):.4f}"
    if len(accuracies) > 1:
        middle += f" ({min(accuracies):.4f} to {max(accuracies):.4f})"
    return f"{middle}; {diverged}" if diverged else middle


def mean_of(result: Result, column: str, form: str) -> str:
    """Return a mean over seeds, or a dash."""
    figures = result.figures(column)
    return form.format(mean(figures)) if figures else "-"


def volume(result: Result, side: str) -> str:
    """Return payload in MB, and in percent of dense models."""
    payload, dense = (result.figures(f"{side}_{kind}_bytes") for kind in ("payload", "dense"))
    if not payload or not dense:
        return "-"
    return f"{mean(payload) / 1e6:.1f} ({100 * sum(payload) / sum(dense):.1f} %)"


def published(results: Sequence[Result]) -> str:
    """Return the published figures beside ours, if the two runs that they are about have ended."""
    by_name = {result.name: result for result in results}
    full, sparse = by_name.get("Com, density 1, 32 bits"), by_name.get("Com, density 0.1, 32 bits")
    if full is None or sparse is None or full.diverged or sparse.diverged:
        return ""
    # Seeds that both have: a mean over other seeds is no comparison.
    seeds = {row["seed"] for row in full.rows} & {row["seed"] for row in sparse.rows}
    ours = (
        [
            mean(float(row["accuracy"]) for row in result.rows if row["seed"] in seeds)
            for result in (full, sparse)
        ]
        if seeds
        else []
    )
    if not ours:
        return ""
    loss = 1 - ours[1] / ours[0]
    return (
        "### Beside the published figures\n\n"
        "| | published | here |\n|---|---|---|\n"
        f"| accuracy at density 0.1 | {PUBLISHED_ACCURACY:.4f} | {ours[1]:.4f} |\n"
        f"| below the uncompressed by | {100 * PUBLISHED_LOSS:.2f} % | {100 * loss:.2f} % |\n\n"
        f"The uncompressed reaches {ours[0]:.4f} here ({len(seeds)} seed{'s' if len(seeds) > 1 else ''}). The paper"
        " also reports costs that are lower by 70 % with sparse models, without a definition of its bits: the next"
        " tables say what is saved on the way to an accuracy, by each count.\n"
    )


def to_targets(results: Sequence[Result]) -> str:
    """Return what each configuration needs to reach an accuracy, and how much less than the uncompressed."""
    reference = next((result for result in results if result.name == "Com, density 1, 32 bits"), None)
    measures: dict[str, Callable[[Point], float]] = {
        "rounds": lambda point: point.round,
        "total cost": lambda point: point.total_cost,
        "paper MB up": lambda point: point.uplink_paper / 1e6,
        **{f"MB {name}": measure for name, measure in MEASURES.items()},
    }
    lines = ["### To reach an accuracy\n"]
    if reference is not None:
        lines.append("Mean over seeds; in brackets, the change against density 1 with 32 bits.\n")
    for target in TARGETS:
        lines += [f"| to {target:.2f} | {' | '.join(measures)} |", "|---" * (len(measures) + 1) + "|"]
        for result in results:
            cells = []
            for measure in measures.values():
                needed = needed_for(result.curves, measure, target)
                base = needed_for(reference.curves, measure, target) if reference else None
                change = (
                    ""
                    if not (needed and base) or result is reference
                    else f" ({100 * (needed / base - 1):+.0f} %)"
                )
                cells.append("-" if needed is None else f"{needed:.0f}{change}")
            lines.append(f"| {result.name} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def equal_bytes(results: Sequence[Result]) -> str:
    """Return for each direction the accuracies at equal payload, the best of each budget in bold."""
    lines = [
        "### At equal bytes\n",
        "Test accuracy at the last evaluation within a budget of payload bytes, mean over seeds; the best in bold. A"
        " run that ends below the budget counts with what it had reached at its end.\n",
    ]
    for name, measure in MEASURES.items():
        ends = sorted(measure(curve[-1]) for result in results for curve in result.curves if curve)
        if not ends:
            continue
        budgets = budgets_between(ends[0] / 8, ends[-1])
        lines += [
            f"| MB {name} | {' | '.join(f'{budget:g}' for budget in budgets)} |",
            "|---" * (len(budgets) + 1) + "|",
        ]
        columns = [[accuracy_within(r.curves, measure, budget) for r in results] for budget in budgets]
        for index, result in enumerate(results):
            cells = []
            for column in columns:
                value, best = column[index], max((v for v in column if v is not None), default=None)
                shown = "-" if value is None else f"{value:.4f}"
                cells.append(f"**{shown}**" if value is not None and value == best else shown)
            lines.append(f"| {result.name} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def budgets_between(low: float, high: float) -> list[float]:
    """Return the budgets 1, 2, 5, 10, 20, ... from the first above `low` to the first that is at least `high`."""
    found: list[float] = []
    for exponent in range(-3, 9):
        for digit in (1, 2, 5):
            budget = float(f"{digit}e{exponent}")
            if budget > low and not (found and found[-1] >= high):
                found.append(budget)
    return found


def pictures(name: str, results: Sequence[Result], folder: Path) -> Iterable[str]:
    """Draw the curves of a part, with a band from the lowest to the highest seed; yield what shows them."""
    lines = [Line(result.name, result.curves) for result in results if any(result.curves)]
    if lines:
        plot(folder / f"{name}.png", lines)
        yield f"![Accuracy against rounds, bytes and total cost]({folder.name}/{name}.png)\n"


if __name__ == "__main__":
    sys.exit(main())
