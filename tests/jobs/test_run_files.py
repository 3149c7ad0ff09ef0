"""What a run leaves in its folder, as users' scripts read it: with json, numpy, torch and tomllib alone."""

import json
import math
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from tests.jobs.train_jobs import FAULTS, SMALL, TRAIN, Arguments, RankResult, files_below, train, train_batch
from tests.mpirun import Job, mpirun

ROUNDS = 7
DENSITY = 0.1
FILES = {
    "checkpoints",
    "config.toml",
    "environment.json",
    "partition.npz",
    "initial.pt",
    "rounds.jsonl",
    "final.pt",
    "final_compressed.pt",
    "summary.json",
}
SERVER_PARTS = {
    "encode", "broadcast", "wait", "receive", "decode", "aggregate", "evaluate", "checkpoint", "other"
}  # fmt: skip
CLIENT_PARTS = {"compute", "select", "encode", "wait", "decode", "update"}
BYTES = {"paper_bytes", "bound_bytes", "payload_bytes", "mpi_bytes"}

JOB_TOML = f"""
rounds = {ROUNDS}
eval-every = 3
density = {DENSITY}
clients = 6
cohort = 4
p = 0.9
device = "cpu"
"""


class Digits(torch.nn.Sequential):
    """The network as its description says, written down once more."""

    def __init__(self) -> None:
        super().__init__(
            torch.nn.Flatten(),
            torch.nn.Linear(64, 200),
            torch.nn.ReLU(),
            torch.nn.Linear(200, 200),
            torch.nn.ReLU(),
            torch.nn.Linear(200, 10),
        )


class Run(NamedTuple):
    job: Job
    folder: Path

    @property
    def config(self) -> dict[str, Any]:
        return tomllib.loads((self.folder / "config.toml").read_text())

    @property
    def rounds(self) -> list[dict[str, Any]]:
        return rounds_of(self.folder)

    @property
    def summary(self) -> dict[str, Any]:
        return read_json(self.folder / "summary.json")


def reject(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def read_json(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(), parse_constant=reject)
    assert isinstance(value, dict)
    return value


def rounds_of(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "rounds.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=reject) for line in text.splitlines()]


def without_measurements(rounds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what may differ between two runs of one configuration."""
    return [{key: value for key, value in record.items() if key != "seconds"} for record in rounds]


def state(path: Path) -> dict[str, torch.Tensor]:
    loaded = torch.load(path, weights_only=True)
    assert isinstance(loaded, dict)
    return loaded


def flat(path: Path) -> torch.Tensor:
    return torch.cat([value.flatten() for value in state(path).values()])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run one job the way users do, from a configuration file and a flag that wins over it."""
    cwd = tmp_path_factory.mktemp("a run")
    (cwd / "job.toml").write_text(JOB_TOML)
    job = train(3, "--config", "job.toml", "--p", "0.5", "--out", "results/first", cwd=cwd)
    assert job.returncode == 0, job
    return Run(job, cwd / "results" / "first")


@pytest.fixture(scope="module")
def more(run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[RankResult], Path]]:
    """Run further configurations in one job: what each rank made of them, and the folder of each."""
    cwd = tmp_path_factory.mktemp("more")
    short = [*SMALL, "--rounds", "2"]
    lines: dict[str, Arguments] = {
        "again": ["--config", run.folder / "config.toml", "--out", cwd / "again"],
        "onwards": ["--config", run.folder / "config.toml", "--initial", run.folder / "final.pt",
                    "--rounds", "1", "--out", cwd / "onwards"],
        "scaffnew": [*short, "--algorithm", "scaffnew", "--out", cwd / "scaffnew"],
        "quantized": [*short, "--density", "1", "--bits", "4", "--out", cwd / "quantized"],
        "target": [*SMALL, "--rounds", "200", "--target-accuracy", "0.001", "--eval-every", "2",
                   "--out", cwd / "target"],
        "unnamed": short,
    }  # fmt: skip
    results = train_batch(3, list(lines.values()), cwd / "batch", cwd)
    (unnamed,) = (cwd / "runs").iterdir()
    folders = {name: cwd / name for name in lines} | {"unnamed": unnamed}
    return {name: (ranks, folders[name]) for name, ranks in zip(lines, results, strict=True)}


def test_output(run: Run) -> None:
    first, *_ = run.job.stdout.splitlines()
    assert run.job.stderr == ""
    assert "3 ranks, 3 clients per rank (cohort 4), 1 thread per rank, MPICH" in first
    assert "coders " in first
    assert run.job.stdout.count("finished after 7 rounds") == 1
    assert run.job.stdout.splitlines()[-1] == "files: results/first"


def test_files(run: Run) -> None:
    assert {path.name for path in run.folder.iterdir()} == FILES
    assert {path.name for path in run.folder.parent.parent.iterdir()} == {"job.toml", "results"}


def test_config_holds_every_resolved_value(run: Run) -> None:
    config = run.config
    assert not any(isinstance(value, dict) for value in config.values())
    given = {"rounds": ROUNDS, "eval_every": 3, "density": DENSITY, "clients": 6, "cohort": 4, "p": 0.5}
    defaults = {
        "algorithm": "fedcomloc-com",
        "bits": 32,
        "dataset": "digits",
        "model": "mlp",
        "seed": 0,
        "threads": 1,
    }
    assert config.items() >= (given | defaults).items()
    assert config.keys().isdisjoint({"out", "resume", "config"})


def test_environment(run: Run) -> None:
    facts = read_json(run.folder / "environment.json")
    assert facts["ranks"] == len(facts["host_of_rank"]) == 3
    assert facts["packages"]["torch"] == torch.__version__.partition("+")[0] or facts["packages"][
        "torch"
    ] == (torch.__version__)
    assert facts["packages"].keys() >= {"torch", "numpy", "mpi4py"}
    assert facts["mpi_library"].startswith("MPICH")
    assert facts["threads"] == 1
    assert facts["bitwise"] is True
    assert "float32" in facts["coders"]["in_use"]
    assert facts["source_version"]
    assert facts["hosts"] == sorted(set(facts["host_of_rank"]))


def test_partition(run: Run) -> None:
    with np.load(run.folder / "partition.npz", allow_pickle=False) as partition:
        assert sorted(partition.files, key=int) == [str(client) for client in range(6)]
        clients = [partition[name] for name in partition.files]
    assert {positions.dtype for positions in clients} == {np.dtype(np.int64)}
    everything = np.sort(np.concatenate(clients))
    np.testing.assert_array_equal(everything, np.arange(len(everything)))
    assert len(everything) == 1442


@pytest.mark.parametrize("name", ["initial.pt", "final.pt", "final_compressed.pt"])
def test_models(name: str, run: Run) -> None:
    values, network = state(run.folder / name), Digits()
    expected = network.state_dict()
    assert list(values) == list(expected)  # registration order
    for key, value in values.items():
        assert value.shape == expected[key].shape
        assert value.dtype == torch.float32
        assert value.device.type == "cpu"
        assert value.is_contiguous()
        assert value.untyped_storage().nbytes() == 4 * value.numel()
        assert value.isfinite().all()
    network.load_state_dict(values)
    assert not torch.equal(flat(run.folder / "initial.pt"), flat(run.folder / "final.pt"))


def test_compressed_model_holds_the_largest_entries(run: Run) -> None:
    final, compressed = flat(run.folder / "final.pt"), flat(run.folder / "final_compressed.pt")
    kept = math.ceil(DENSITY * final.numel())
    assert kept == 5521
    # The lowest index wins a tie; a kept entry may be 0 if the model has fewer entries that are not.
    largest = np.lexsort((np.arange(final.numel()), -final.abs().numpy()))[:kept]
    expected = torch.zeros_like(final)
    expected[largest] = final[largest]
    assert torch.equal(compressed, expected)
    assert int(compressed.count_nonzero()) <= kept


def test_rounds(run: Run) -> None:
    rounds = run.rounds
    assert [record["round"] for record in rounds] == list(range(1, ROUNDS + 1))
    for record in rounds:
        assert record["local_steps"] >= 1
        assert record["cohort"] == sorted(set(record["cohort"]))
        assert len(record["cohort"]) == 4
        assert set(record["cohort"]) <= set(range(6))
        assert math.isfinite(record["train_loss"])
        assert 0 <= record["control_sum_norm"] < 1e-3
        evaluated = record["round"] in (3, 6, 7)
        for figure in ("test_loss", "test_accuracy", "test_accuracy_compressed"):
            assert isinstance(record[figure], float) == evaluated, (record["round"], figure)
    assert len({record["local_steps"] for record in rounds}) > 1
    assert len({tuple(record["cohort"]) for record in rounds}) > 1


def test_bytes(run: Run) -> None:
    size, kept = flat(run.folder / "final.pt").numel(), 5521
    for record in run.rounds:
        up, down = record["uplink"], record["downlink"]
        assert up.keys() == BYTES | {"coders"}
        assert down.keys() == BYTES | {"coders", "device_bytes"}
        # One index coder and one value coder for each message: four up, one down.
        assert (sum(up["coders"].values()), sum(down["coders"].values())) == (8, 2)
        assert up["paper_bytes"] == 4 * 4 * kept
        assert down["paper_bytes"] == 4 * 4 * size
        assert up["bound_bytes"] > up["paper_bytes"]
        assert down["bound_bytes"] == down["paper_bytes"]
        for counts in (up, down):
            assert isinstance(counts["payload_bytes"], int)
            assert isinstance(counts["mpi_bytes"], int)
        # Each of the four messages travels once, with a report of each of the two client ranks.
        assert up["payload_bytes"] < up["mpi_bytes"] < up["payload_bytes"] + 1000
        # One broadcast to two client ranks, for a cohort of four.
        assert down["payload_bytes"] % 4 == 0
        assert 0 < down["mpi_bytes"] - 2 * (down["payload_bytes"] // 4) < 100
        assert down["device_bytes"] >= down["payload_bytes"]


def test_seconds_add_up(run: Run) -> None:
    for record in run.rounds:
        seconds = dict(record["seconds"])
        total, clients = seconds.pop("round"), seconds.pop("clients")
        assert seconds.keys() == SERVER_PARTS
        assert sum(seconds.values()) == pytest.approx(total, rel=1e-12)
        assert min(seconds.values()) >= 0
        assert clients.keys() >= CLIENT_PARTS
        for value in clients.values():
            assert 0 <= value["max"] <= value["sum"] <= 2 * value["max"] + 1e-9


def test_summary(run: Run) -> None:
    rounds, summary = run.rounds, run.summary
    assert (summary["status"], summary["rounds"]) == ("finished", ROUNDS)
    for suffix in ("", "_compressed"):
        evaluated = {
            r["round"]: r["test_accuracy" + suffix] for r in rounds if r["test_accuracy"] is not None
        }
        assert summary[f"last_accuracy{suffix}"] == evaluated[ROUNDS]
        assert summary[f"best_accuracy{suffix}"] == max(evaluated.values())
        assert evaluated[summary[f"best_accuracy{suffix}_round"]] == max(evaluated.values())
    for direction in ("uplink", "downlink"):
        for kind in rounds[0][direction].keys() - {"coders"}:
            assert summary[direction][kind] == pytest.approx(sum(r[direction][kind] for r in rounds))
    for part in SERVER_PARTS:
        assert summary["seconds"][part] == pytest.approx(sum(r["seconds"][part] for r in rounds))
    assert summary["seconds"]["total"] == pytest.approx(sum(r["seconds"]["round"] for r in rounds))
    assert summary["to_target"] is None


def test_recorded_accuracies_are_those_of_the_saved_models(run: Run) -> None:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    held_out = np.concatenate([np.flatnonzero(labels == label)[4::5] for label in range(10)])
    inputs = torch.from_numpy(images[held_out] / 16).float()
    for name, figure in {
        "final.pt": "test_accuracy",
        "final_compressed.pt": "test_accuracy_compressed",
    }.items():
        network = Digits()
        network.load_state_dict(state(run.folder / name))
        correct = (network(inputs).argmax(1).numpy() == labels[held_out]).mean()
        # Another batch size may move one image across the border between two classes.
        assert run.rounds[-1][figure] == pytest.approx(correct, abs=1.5 / len(inputs))


def test_config_gives_the_same_run_again(run: Run, more: dict[str, tuple[list[RankResult], Path]]) -> None:
    ranks, folder = more["again"]
    assert [(rank.code, rank.stderr) for rank in ranks] == [(0, "")] * 3
    assert (folder / "config.toml").read_bytes() == (run.folder / "config.toml").read_bytes()
    assert without_measurements(rounds_of(folder)) == without_measurements(run.rounds)
    for name in ("initial.pt", "final.pt", "final_compressed.pt"):
        assert (folder / name).read_bytes() == (run.folder / name).read_bytes()
    with np.load(folder / "partition.npz") as ours, np.load(run.folder / "partition.npz") as theirs:
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs.files)


def test_late_ranks_change_no_bit(run: Run, tmp_path: Path) -> None:
    """A rank that is slow to update its control variates must not let another one start from old ones."""
    flags = ["--config", str(run.folder / "config.toml"), "--out", "late"]
    job = mpirun(3, [FAULTS, "slow-commit", "2", "0", *flags], cwd=tmp_path)
    assert job.returncode == 0, job
    assert (tmp_path / "late" / "final.pt").read_bytes() == (run.folder / "final.pt").read_bytes()
    cohorts = [set(record["cohort"]) for record in run.rounds]
    assert any(first & second for first, second in pairwise(cohorts))


def test_initial_model(run: Run, more: dict[str, tuple[list[RankResult], Path]]) -> None:
    ranks, folder = more["onwards"]
    assert ranks[0].code == 0, ranks
    assert torch.equal(flat(folder / "initial.pt"), flat(run.folder / "final.pt"))
    assert "initial" in tomllib.loads((folder / "config.toml").read_text())


def test_run_without_compressor(more: dict[str, tuple[list[RankResult], Path]]) -> None:
    ranks, folder = more["scaffnew"]
    assert ranks[0].code == 0, ranks
    assert {path.name for path in folder.iterdir()} == FILES - {"final_compressed.pt"}
    config = tomllib.loads((folder / "config.toml").read_text())
    assert (config["density"], config["bits"]) == (1.0, 32)
    for record in rounds_of(folder):
        assert record["test_accuracy_compressed"] is None
        assert record["uplink"]["paper_bytes"] == record["downlink"]["paper_bytes"]


def test_quantized_model_has_few_levels(more: dict[str, tuple[list[RankResult], Path]]) -> None:
    ranks, folder = more["quantized"]
    assert ranks[0].code == 0, ranks
    for key, value in state(folder / "final_compressed.pt").items():
        assert len(value.unique()) <= 2 * (2**4 - 1) + 1, key
        # The largest magnitude of a layer is its scale, which every level is a fraction of.
        assert value.abs().max() == state(folder / "final.pt")[key].abs().max()
    for record in rounds_of(folder):
        assert record["uplink"]["payload_bytes"] < record["uplink"]["bound_bytes"] * 1.2


def test_target(more: dict[str, tuple[list[RankResult], Path]]) -> None:
    ranks, folder = more["target"]
    assert [rank.code for rank in ranks] == [0, 0, 0]
    summary = read_json(folder / "summary.json")
    assert (summary["status"], summary["rounds"], len(rounds_of(folder))) == ("target", 2, 2)
    assert summary["to_target"]["rounds"] == 2
    assert summary["to_target"]["bytes"] == sum(
        record[direction]["payload_bytes"]
        for record in rounds_of(folder)
        for direction in ("uplink", "downlink")
    )
    assert {path.name for path in folder.iterdir()} == FILES


def test_default_folder(more: dict[str, tuple[list[RankResult], Path]]) -> None:
    ranks, folder = more["unnamed"]
    assert folder.name.endswith("Z-digits-fedcomloc-com")
    assert {path.name for path in folder.iterdir()} == FILES
    assert ranks[0].stdout.splitlines()[-1] == f"files: runs/{folder.name}"
    assert [rank.stdout for rank in ranks[1:]] == ["", ""]


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--help", "usage: mpirun -n RANKS python -m fedcomloc_mpi.train [--flag value ...]"),
        ("--version", "fedcomloc_mpi "),
        ("--print-config", "# Algorithm"),
    ],
)
def test_information_is_printed_once(flag: str, line: str, tmp_path: Path) -> None:
    job = train(3, flag, cwd=tmp_path)
    assert (job.returncode, job.stderr) == (0, "")
    assert sum(printed.startswith(line) for printed in job.stdout.splitlines()) == 1, job
    assert files_below(tmp_path) == {}


def test_printed_configuration_names_sources(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text("density = 0.25\nrounds = 3\n")
    job = train(3, "--config", "job.toml", "--rounds", "4", "--print-config", cwd=tmp_path)
    assert job.returncode == 0, job
    values = tomllib.loads(job.stdout)
    assert (values["density"], values["uplink_density"], values["rounds"]) == (0.25, 0.25, 4)
    lines = [line.split() for line in job.stdout.splitlines()]
    assert ["density", "=", "0.25", "#", "file", "job.toml"] in lines
    assert ["rounds", "=", "4", "#", "flag"] in lines


def test_mnist(test_data: Path, tmp_path: Path) -> None:
    before = files_below(test_data / "MNIST")
    flags = ["--dataset", "mnist", "--data-dir", str(test_data), "--device", "cpu", "--out", "run"]
    job = mpirun(3, [*TRAIN, *flags, "--rounds", "5", "--density", "0.5"], cwd=tmp_path)
    assert job.returncode == 0, job
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    assert flat(tmp_path / "run" / "final.pt").numel() == 199_210
    rounds = rounds_of(tmp_path / "run")
    assert [len(record["cohort"]) for record in rounds] == [10] * 5
    assert rounds[-1]["test_accuracy"] > 0.4
    with np.load(tmp_path / "run" / "partition.npz") as partition:
        assert len(partition.files) == 100
        assert sum(partition[name].size for name in partition.files) == 60_000
    assert files_below(test_data / "MNIST") == before
