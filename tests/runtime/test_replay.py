"""Whole trainings of every method, repeated from the files that they left by references that know nothing of them.

The data are the synthetic ones and the model is linear, with full batches: what is random is in the files.
"""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedcomloc_mpi.data import load
from tests.algorithms import references
from tests.algorithms.test_references import with_p, without_p
from tests.mpirun import mpirun

COMMON: dict[str, Any] = {
    "dataset": "synthetic",
    "model": "logistic",
    "batch_size": 0,
    "weight_decay": 0.01,
    "clients": 12,
    "cohort": 4,
    "alpha": 0.3,
    "rounds": 5,
    "lr": 0.5,
}
DECAY = {"lr_schedule": "step", "lr_decay_rounds": 2, "lr_decay_factor": 0.5}
FIFTH = references.topk(0.2)
RUNS: dict[str, tuple[Callable[..., list[np.ndarray]], dict[str, Any]]] = {
    "scaffnew": (with_p(references.fedcomloc), {}),
    "fedcomloc-com": (with_p(references.fedcomloc, com=FIFTH), {"density": 0.2}),
    "fedcomloc-local": (with_p(references.fedcomloc, local=FIFTH), {"density": 0.2}),
    "fedcomloc-global": (with_p(references.fedcomloc, global_=FIFTH), {"density": 0.2}),
    "fedavg": (without_p(references.fedavg), {}),
    "sparsefedavg": (without_p(references.fedavg, com=FIFTH), {"density": 0.2}),
    "scaffold": (without_p(references.scaffold), {}),
    "feddyn": (without_p(references.feddyn, alpha=0.2), {"feddyn_alpha": 0.2}),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "p-0.3": {"p": 0.3},
    "p-1": {"p": 1.0},
    "all-options": {"p": 0.4, "server_step": 0.7, "weighting": "samples", **DECAY},
}
# To the minimiser: float32 ends where rounding holds it.
CONVEX: dict[str, dict[str, Any]] = {
    "scaffnew": {"lr": 1.0, "p": 0.3},
    "scaffold": {"lr": 0.5, "p": 0.2, "local_steps": "fixed"},
    "feddyn": {"lr": 0.5, "p": 0.2, "local_steps": "fixed", "feddyn_alpha": 0.3},
}
PROGRAM = """
import json, sys
from mpi4py import MPI
from fedcomloc_mpi import make_config, run

for values in json.load(open(sys.argv[1])):
    run(MPI.COMM_WORLD, make_config(**values))
"""

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run everything in one mpirun; return the folder with a folder for each run."""
    base = tmp_path_factory.mktemp("replay")
    jobs = [
        COMMON | options | VARIANTS[variant] | {"algorithm": name, "out": str(base / f"{name} {variant}")}
        for name, (_, options) in RUNS.items()
        for variant in VARIANTS
    ]
    for name, options in CONVEX.items():
        for cohort, rounds in ((20, 130), (5, 260)):
            out = {"out": str(base / f"{name} convex {cohort}"), "rounds": rounds, "eval_every": rounds}
            sizes = {"algorithm": name, "clients": 20, "cohort": cohort, "weight_decay": 0.05}
            jobs.append(COMMON | options | sizes | out)
    (base / "jobs.json").write_text(json.dumps(jobs))
    (base / "program.py").write_text(PROGRAM)
    job = mpirun(
        3, ["-m", "mpi4py", str(base / "program.py"), str(base / "jobs.json")], timeout=300, cwd=base
    )
    assert job.returncode == 0, job
    return base


def vector(path: Path) -> np.ndarray:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return torch.cat([value.reshape(-1) for value in state.values()]).numpy().astype(np.float64)


class Client:
    """The mean cross-entropy of a linear classifier over some samples, plus (decay / 2) |x|^2."""

    def __init__(self, inputs: np.ndarray, labels: np.ndarray, decay: float) -> None:
        self.inputs, self.decay = np.hstack([inputs.astype(np.float64), np.ones((len(inputs), 1))]), decay
        self.truth = np.eye(10)[labels]

    def _table(self, x: np.ndarray) -> np.ndarray:
        """The flat vector (weights [10, 20], biases [10]) as [10, 21]."""
        return np.hstack([x[:200].reshape(10, 20), x[200:, None]])

    @staticmethod
    def _flat(table: np.ndarray) -> np.ndarray:
        flat: np.ndarray = np.concatenate([table[:, :-1].reshape(-1), table[:, -1]])
        return flat

    def _chances(self, x: np.ndarray) -> np.ndarray:
        scores = self.inputs @ self._table(x).T
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        normalised: np.ndarray = chances / chances.sum(axis=1, keepdims=True)
        return normalised

    def gradient(self, x: np.ndarray) -> np.ndarray:
        errors = (self._chances(x) - self.truth) / len(self.inputs)
        return self._flat(errors.T @ self.inputs) + self.decay * x

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """[210, 210], in the order of the flat vector."""
        chances = self._chances(x)
        curvature = np.zeros((10, 21, 10, 21))
        for a in range(10):
            for b in range(10):
                weight = chances[:, a] * ((a == b) - chances[:, b]) / len(self.inputs)
                curvature[a, :, b, :] = (self.inputs * weight[:, None]).T @ self.inputs
        order = self._flat(np.arange(210).reshape(10, 21)).astype(int)
        ordered: np.ndarray = curvature.reshape(210, 210)[np.ix_(order, order)]
        return ordered + self.decay * np.eye(210)


def clients_of(run: Path, decay: float) -> list[Client]:
    data = load("synthetic")
    with np.load(run / "partition.npz") as parts:
        positions = [parts[str(client)] for client in range(len(parts))]
    return [Client(data.train_inputs[held], data.train_labels[held], decay) for held in positions]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", RUNS)
def test_the_run_is_what_its_files_and_the_paper_say(folder: Path, name: str, variant: str) -> None:
    run = folder / f"{name} {variant}"
    config = tomllib.loads((run / "config.toml").read_text())
    records = [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]
    plan = [(record["local_steps"], record["cohort"]) for record in records]
    assert len(plan) == 5 and (variant != "p-1" or all(steps == 1 for steps, _ in plan))
    clients = clients_of(run, config["weight_decay"])
    options: dict[str, Any] = {"eta": config["server_step"]}
    if config["weighting"] == "samples":
        options["weights"] = [len(client.inputs) for client in clients]
        # The references use the weights as they are: what counts is their share.

    def gamma(number: int) -> float:
        halvings = (number - 1) // 2 if config["lr_schedule"] == "step" else 0
        return float(config["lr"] * 0.5**halvings)

    gradients = [client.gradient for client in clients]
    expected = RUNS[name][0](gradients, vector(run / "initial.pt"), plan, gamma, config["p"], **options)
    found = vector(run / "final.pt")
    assert np.linalg.norm(found - expected[-1]) < 1e-5 * np.linalg.norm(expected[-1])
    assert np.linalg.norm(expected[-1] - expected[-2]) > 1e-3 * np.linalg.norm(expected[-1])


@pytest.mark.parametrize("cohort", [20, 5])
@pytest.mark.parametrize("name", CONVEX)
def test_float32_reaches_the_minimiser(folder: Path, name: str, cohort: int) -> None:
    run = folder / f"{name} convex {cohort}"
    clients = clients_of(run, 0.05)
    solution = np.zeros(210)
    for _ in range(12):
        slope = np.mean([client.gradient(solution) for client in clients], axis=0)
        curvature = np.mean([client.hessian(solution) for client in clients], axis=0)
        solution -= np.linalg.solve(curvature, slope)
    assert np.abs(slope).max() < 1e-14
    found = vector(run / "final.pt")
    assert np.linalg.norm(found - solution) < 1e-5
