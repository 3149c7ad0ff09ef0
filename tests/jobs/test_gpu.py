"""A job on a GPU against the same job on the CPU; only where torch sees a GPU."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.jobs.train_jobs import TRAIN
from tests.mpirun import mpirun

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")

FLAGS = ["--clients", "8", "--cohort", "6", "--rounds", "4", "--p", "0.3", "--eval-every", "2"]
VISIBLE = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0")}


def model(path: Path) -> np.ndarray:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return torch.cat([value.reshape(-1) for value in state.values()]).numpy()


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        (["--algorithm", "scaffnew"], 1e-5),
        (["--algorithm", "scaffold"], 1e-5),
        (["--density", "0.1"], 1e-2),  # rounding may make C keep another entry
        (["--density", "0.1", "--bits", "8"], 1e-2),
    ],
)
def test_agrees_with_the_cpu(options: list[str], tolerance: float, tmp_path: Path) -> None:
    for device in ("cpu", "cuda"):
        flags = [*FLAGS, *options, "--device", device, "--out", device]
        job = mpirun(3, [*TRAIN, *flags], env=VISIBLE, cwd=tmp_path, timeout=100)
        assert job.returncode == 0, job
    facts = json.loads((tmp_path / "cuda" / "environment.json").read_text())
    assert facts["device"] == "cuda" and not facts["bitwise"]
    assert all(name.startswith("cuda:") for name in facts["device_of_rank"])
    for name in ("initial.pt", "final.pt"):
        cpu, gpu = model(tmp_path / "cpu" / name), model(tmp_path / "cuda" / name)
        assert np.linalg.norm(gpu - cpu) <= tolerance * np.linalg.norm(cpu)
