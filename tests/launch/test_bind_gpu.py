"""launch/bind_gpu.sh: which GPU a rank is shown."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.mpirun import ROOT


def shown(folder: Path, lists: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Start a program that prints what it is shown; `lists`: a script in the place of nvidia-smi."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    if lists is not None:
        (programs / "nvidia-smi").write_text(f"#!/bin/sh\n{lists}\n")
        (programs / "nvidia-smi").chmod(0o755)
    return subprocess.run(
        ["bash", str(ROOT / "launch/bind_gpu.sh"), "sh", "-c", 'echo "${CUDA_VISIBLE_DEVICES-all}"'],
        env={"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", **variables},
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize(
    "variable", ["MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "PMI_LOCAL_RANK", "SLURM_LOCALID"]
)
@pytest.mark.parametrize(("rank", "gpu"), [(0, "4"), (1, "6"), (2, "4"), (5, "6")])
def test_ranks_take_turns_on_the_gpus_that_are_given(
    tmp_path: Path, variable: str, rank: int, gpu: str
) -> None:
    done = shown(tmp_path, CUDA_VISIBLE_DEVICES="4,6", **{variable: str(rank)})
    assert (done.returncode, done.stdout) == (0, f"{gpu}\n")


def test_all_gpus_of_the_node_without_a_choice(tmp_path: Path) -> None:
    done = shown(tmp_path, "echo 0; echo 1; echo 2", SLURM_LOCALID="4")
    assert (done.returncode, done.stdout) == (0, "1\n")


def test_hidden_gpus_stay_hidden(tmp_path: Path) -> None:
    done = shown(tmp_path, "echo 0; echo 1", CUDA_VISIBLE_DEVICES="", SLURM_LOCALID="1")
    assert (done.returncode, done.stdout) == (0, "\n")


def test_a_node_without_a_driver(tmp_path: Path) -> None:
    done = shown(tmp_path, "echo NVIDIA-SMI has failed; exit 9", SLURM_LOCALID="1")
    assert (done.returncode, done.stdout) == (0, "all\n")


def test_without_a_launcher_it_says_so(tmp_path: Path) -> None:
    done = shown(tmp_path, CUDA_VISIBLE_DEVICES="0")
    assert done.returncode == 2 and "start it by mpirun or srun" in done.stderr
