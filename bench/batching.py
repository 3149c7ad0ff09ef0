"""When it pays to train the clients of a rank together (--client-batch) rather than one after the other.

    python bench/batching.py --model mlp --csv docs/results/batching.csv
    python bench/batching.py --csv docs/results/batching.csv --write docs/results/batching.md

The first measures one network on the CPU, or on a GPU with --device cuda, and appends its rows: local steps as
Scaffnew's, on random samples of the real shape (logistic: 60 features, mlp: MNIST, cnn: CIFAR-10), for every number of
clients and size of minibatch. The second makes the page from all rows. `alone`: one client after the other, as with
--client-batch 1 on a CPU; `layers`: together, as --client-batch does for these networks; `vmap`: together by
torch.func.vmap, as for a module whose layers are not known. Each is the median over repeats of the milliseconds of one
step of all clients, by turns, after two steps that do not count: CPU time of the process on a CPU, wall-clock time on a
GPU.
"""

import argparse
import csv
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fedcomloc_mpi.models import FlatModel, build
from fedcomloc_mpi.models.batched import BatchedModel
from fedcomloc_mpi.runtime.local_batch import LocalBatch
from fedcomloc_mpi.runtime.local_problem import LocalProblem

SHAPES = {"logistic": (60,), "mlp": (1, 28, 28), "cnn": (3, 32, 32)}
SAMPLES, OWN_SAMPLES, CLASSES = 4000, 600, 10
STEPSIZE = 1e-6
WAYS = ("alone", "layers", "vmap")
FIELDS = ("device", "model", "batch", "clients", *WAYS)
_BY_HAND = "\n## How far"
_CONCLUSION = """
On a CPU it pays most for small models, whose steps take a millisecond or less. `--client-batch` is 1 there unless it is
given, because only clients that are trained alone give the same bits on any number of ranks.
"""


def main() -> None:
    """Measure one network, or write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=SHAPES, help="measure this network")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32, 64])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 5, 10, 20, 50])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--csv", type=Path, required=True, help="rows are appended to, or read from, this file"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.model:
        for batch in arguments.batch:
            for clients in arguments.clients:
                row = measure(
                    arguments.model, batch, clients, arguments.repeats, torch.device(arguments.device)
                )
                append(arguments.csv, row)
                print(*row.values(), flush=True)
    if arguments.write:
        with arguments.csv.open(newline="") as file:
            page = document(list(csv.DictReader(file)), arguments.repeats)
        if arguments.write.exists():  # what was written by hand below the tables
            _, begin, rest = arguments.write.read_text(encoding="utf-8").partition(_BY_HAND)
            page += begin + rest
        arguments.write.write_text(page, encoding="utf-8")


def measure(name: str, batch: int, clients: int, repeats: int, device: torch.device) -> dict[str, Any]:
    """Return one row."""
    random = np.random.default_rng(0)
    shape = SHAPES[name]
    inputs = torch.from_numpy(random.standard_normal((SAMPLES, *shape)).astype(np.float32)).to(device)
    labels = torch.from_numpy(random.integers(0, CLASSES, SAMPLES)).to(device)
    positions = [np.sort(random.choice(SAMPLES, OWN_SAMPLES, replace=False)) for _ in range(clients)]
    module = build(name, shape, CLASSES, seed=0).to(device)
    flat = FlatModel(module)
    initial = flat.vector.clone()
    control = torch.zeros(clients, flat.layout.size, device=device)

    def unused(model: Tensor, step: int) -> Tensor:
        raise AssertionError("no compression here")

    def alone() -> Callable[[], None]:
        models = [initial.clone() for _ in range(clients)]
        problems = [
            LocalProblem(flat, cross_entropy, inputs, labels, own, batch, 0, 1, client, unused)
            for client, own in enumerate(positions)
        ]

        def step() -> None:
            for model, problem, h in zip(models, problems, control, strict=True):
                model.add_(problem.gradient(model).sub_(h), alpha=-STEPSIZE)

        return step

    def together(grouped: bool) -> Callable[[], None]:
        models = initial.repeat(clients, 1)
        problem = LocalBatch(
            BatchedModel(module, grouped=grouped),
            inputs,
            labels,
            positions,
            batch,
            0,
            1,
            range(clients),
            unused,
        )

        def step() -> None:
            models.add_(problem.gradient(models).sub_(control), alpha=-STEPSIZE)

        return step

    steps = dict(zip(WAYS, (alone(), together(True), together(False)), strict=True))
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for repeat in range(2 + repeats):
        for way, step in steps.items():
            taken = timed(step, device)
            if repeat >= 2:
                times[way].append(taken)
    measured = {way: f"{statistics.median(taken) * 1e3:.3f}" for way, taken in times.items()}
    return {"device": device_name(device), "model": name, "batch": batch, "clients": clients} | measured


def timed(step: Callable[[], None], device: torch.device) -> float:
    """Return the seconds of one step."""
    if device.type == "cpu":
        since = time.process_time()
        step()
        return time.process_time() - since
    torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def device_name(device: torch.device) -> str:
    """Return what is measured on."""
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)


def append(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a CSV file, after a header if the file is new."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if new:
            writer.writeheader()
        writer.writerow(row)


def document(rows: Sequence[dict[str, str]], repeats: int) -> str:
    """Return the contents of docs/results/batching.md."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    parts = []
    for device in dict.fromkeys(row["device"] for row in rows):
        parts += [f"## {'CPU' if device == 'cpu' else device}", ""]
        for model in dict.fromkeys(row["model"] for row in rows if row["device"] == device):
            mine = [row for row in rows if (row["device"], row["model"]) == (device, model)]
            counts = list(dict.fromkeys(row["clients"] for row in mine))
            parts += [
                f"**{model}**: alone / together, by layers; in brackets by vmap. Above 1, training together is faster.",
                "",
                f"| minibatch | {' | '.join(f'{count} at once' for count in counts)} |",
                "|---" * (1 + len(counts)) + "|",
            ]
            for batch in dict.fromkeys(row["batch"] for row in mine):
                cells = [
                    f"{float(row['alone']) / float(row['layers']):.2f} "
                    f"({float(row['alone']) / float(row['vmap']):.2f})"
                    for row in mine
                    if row["batch"] == batch
                ]
                parts.append(f"| {batch} | {' | '.join(cells)} |")
            gains = [float(row["alone"]) / float(row["layers"]) for row in mine if int(row["clients"]) > 1]
            parts += ["", f"With 2 clients or more: {min(gains):.2f} to {max(gains):.2f}.", ""]
    return (
        "# When clients are better trained together\n\n"
        f"`python bench/batching.py --model NAME --repeats {repeats} --csv docs/results/batching.csv` for each "
        f"network, one thread,\n{datetime.now(UTC):%Y-%m-%d}, commit {commit},\n"
        f"{os.cpu_count()} cores ({platform.machine()}), torch {torch.__version__}. Milliseconds are in "
        "[batching.csv](batching.csv).\n\n" + "\n".join(parts) + _CONCLUSION
    )


if __name__ == "__main__":
    main()
