"""The programs of docs/library.md, docs/extending.md and examples/ are run as they stand."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from tests.mpirun import ROOT, clean_environment, mpirun


def blocks(document: str, language: str = "python") -> list[str]:
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def vector(path: Path) -> np.ndarray:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return torch.cat([value.reshape(-1) for value in state.values()]).numpy()


def test_the_example_trains_its_own_model(tmp_path: Path) -> None:
    job = mpirun(3, ["-m", "mpi4py", str(ROOT / "examples/own_model.py")], timeout=110, cwd=tmp_path)
    assert job.returncode == 0, job
    (run,) = (tmp_path / "runs").iterdir()
    assert f"finished after 60 rounds: {run.relative_to(tmp_path)}" in job.stdout
    assert json.loads((run / "rounds.jsonl").read_text().splitlines()[-1])["test_accuracy"] > 0.9, job
    assert {name: value.shape for name, value in torch.load(run / "final.pt", weights_only=True).items()} == {
        "0.weight": (64, 2),
        "0.bias": (64,),
        "2.weight": (64, 64),
        "2.bias": (64,),
        "4.weight": (2, 64),
        "4.bias": (2,),
    }


def test_the_example_is_a_dozen_lines_besides_its_data() -> None:
    source = (ROOT / "examples/own_model.py").read_text(encoding="utf-8")
    own = source[source.index("dataset = ") :]
    assert len([line for line in own.splitlines() if line.strip()]) <= 12


def test_the_document_s_call_is_the_example_s(tmp_path: Path) -> None:
    """All keywords of the document are accepted."""
    (program,) = blocks("library.md")
    code = f"""
import numpy as np, torch
random = np.random.default_rng(0)
train_inputs, test_inputs = (random.normal(size=(n, 2)).astype(np.float32) for n in (200, 50))
train_labels, test_labels = (random.integers(2, size=n) for n in (200, 50))
module = torch.nn.Linear(2, 2)
torch.nn.init.normal_(module.weight)  # another one on every rank
{program.replace("rounds=60", "rounds=2, min_samples=1, out='run'")}
assert (ending.folder is None) == (MPI.COMM_WORLD.rank > 0)
if ending.folder is not None:
    state = torch.load(ending.folder / "final.pt", weights_only=True)
    assert torch.equal(module.weight, state["weight"]) and torch.equal(module.bias, state["bias"])
"""
    job = mpirun(3, code, cwd=tmp_path)
    assert job.returncode == 0, job


def test_what_is_registered_runs_without_touching_the_program(tmp_path: Path) -> None:
    for block in blocks("extending.md"):
        first, _, rest = block.partition("\n")
        (tmp_path / first.removeprefix("# ")).write_text(rest, encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {"fedprox.py", "layerwise.py", "my_train.py"}
    given = {
        "algorithm": "fedprox",
        "compressor": "layerwise",
        "density": 0.2,
        "clients": 6,
        "cohort": 3,
        "rounds": 2,
    }
    flags = [f"--{name}={value}" for name, value in given.items()]
    job = mpirun(3, [str(tmp_path / "my_train.py"), *flags, "--out", str(tmp_path / "run")], cwd=tmp_path)
    assert job.returncode == 0, job
    found = vector(tmp_path / "run" / "final_compressed.pt")
    entries = [64 * 200, 200, 200 * 200, 200, 200 * 10, 10]
    layers = np.split(found, np.cumsum(entries)[:-1])
    assert [np.count_nonzero(layer) for layer in layers] == [-(-size // 5) for size in entries]
    assert 'compressor = "layerwise"' in (tmp_path / "run" / "config.toml").read_text()
    alone = mpirun(2, ["-m", "fedcomloc_mpi.train", "--config", str(tmp_path / "run" / "config.toml")])
    assert alone.returncode == 2
    assert "'fedprox': it must be fedcomloc-com" in alone.stderr


MISTAKES = {
    "model=module": "model is 'mlp' in the configuration, but model=... is passed",
    "dataset=data()": "dataset is 'digits' in the configuration, but dataset=... is passed",
    "own": "model is 'own' in the configuration, but model=... is not passed",
    "own, model=module, dataset=data(train_labels=labels + 1)": "train_labels has values from 1 to 2: they must be 0",
    "own, model=module, dataset=data(test_labels=labels.astype(int32))": "dataset.test_labels is int32",
    "own, model=module, dataset=data(train_inputs=inputs + nan)": "dataset.train_inputs holds NaN",
    "own, model=module, dataset=data(input_shape=(3,))": "train_inputs has shape (40, 2) and train_labels (40,)",
    "own, model=module, dataset=lambda: None": "dataset is NoneType: it must be a fedcomloc_mpi.Dataset",
    "own, model=lambda: 3, dataset=data()": "model is int: it must be a torch.nn.Module",
    "own, model=Linear(2, 2 + comm.rank % 2), dataset=data()": "6 parameters on rank 0 and 9 on rank 1",
    "own, model=Linear(2, 2).double(), dataset=data()": "the model is torch.float64 on cpu: it must be float32",
    "own, model=BatchNorm1d(2), dataset=data()": "the model keeps state outside its parameters",
}


def test_what_does_not_fit_is_said_on_all_ranks() -> None:
    code = f"""
import dataclasses
from mpi4py import MPI
from numpy import arange, float32, int32, nan, zeros
from torch.nn import BatchNorm1d, Linear
from fedcomloc_mpi import Dataset, make_config, run
from fedcomloc_mpi.errors import UserError
comm, module = MPI.COMM_WORLD, Linear(2, 2)
inputs, labels = zeros((40, 2), dtype=float32), arange(40) % 2
def data(**changes):
    return dataclasses.replace(Dataset("mine", inputs, labels, inputs, labels, 2, (2,)), **changes)
for arguments, message in {MISTAKES!r}.items():
    config = make_config(dataset="own") if arguments.startswith("own") else make_config()
    try:
        eval(f"run(comm, config, {{arguments.removeprefix('own').removeprefix(', ')}})")
    except UserError as error:
        assert message in str(error), error
    else:
        raise AssertionError(f"nothing was said of {{arguments}}")
"""
    job = mpirun(3, code)
    assert job.returncode == 0, job


def test_importing_the_package_is_instant() -> None:
    code = (
        "import sys, fedcomloc_mpi; assert 'run' in dir(fedcomloc_mpi); "
        "sys.exit(bool({'numpy', 'torch', 'mpi4py'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], env=clean_environment(), timeout=60).returncode == 0


def test_every_name_of_the_package_is_there() -> None:
    code = (
        "import fedcomloc_mpi\n"
        "for name in fedcomloc_mpi._MODULE_OF: assert callable(getattr(fedcomloc_mpi, name)), name\n"
        "assert not hasattr(fedcomloc_mpi, 'runn')"
    )
    job = mpirun(2, code)
    assert job.returncode == 0, job
