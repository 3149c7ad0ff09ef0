"""Batch jobs of launch/ under a SLURM of three nodes: several nodes, requeued, resumed, swept, mislaunched."""

import sys
from pathlib import Path

import pytest

from tests.cluster.runs import REFERENCE, ROUNDS, assert_same, output_of, read_json, rounds_done
from tests.cluster.slurm import Slurm

pytestmark = pytest.mark.timeout(600)

THREE_NODES = ["--nodes=3", "--ntasks=4", "--ntasks-per-node=2"]
FIRST_ROUNDS = ROUNDS // 3


@pytest.mark.parametrize("launch", ["mpirun", "srun"])
def test_requeued_by_the_administrator(slurm: Slurm, checkout: Path, reference: Path, launch: str) -> None:
    job = slurm.sbatch(
        "launch/slurm_cpu.sbatch", *REFERENCE, options=THREE_NODES, cwd=checkout, env={"LAUNCH": launch}
    )
    run = checkout / f"runs/job-{job}"
    slurm.wait_until(lambda: rounds_done(run) >= FIRST_ROUNDS, 150, f"round {FIRST_ROUNDS}")
    slurm.run("scontrol", "requeue", str(job))
    assert slurm.wait(job, 250) == 0, output_of(checkout, job)
    assert slurm.restarts(job) == 1
    resumed = read_json(run / "environment.json")["resumed"]
    assert [each["after_round"] >= FIRST_ROUNDS - 10 for each in resumed] == [True]
    assert_same(run, reference)


@pytest.mark.parametrize("launch", ["mpirun", "srun"])
def test_time_is_nearly_up(slurm: Slurm, checkout: Path, reference: Path, launch: str) -> None:
    """What --signal=B:USR1@300 does: the job writes a checkpoint, requeues itself and goes on after that round."""
    job = slurm.sbatch(
        "launch/slurm_cpu.sbatch",
        *REFERENCE,
        "--checkpoint-every",
        "0",
        options=THREE_NODES,
        cwd=checkout,
        env={"LAUNCH": launch},
    )
    run = checkout / f"runs/job-{job}"
    slurm.wait_until(lambda: rounds_done(run) >= FIRST_ROUNDS, 150, f"round {FIRST_ROUNDS}")
    slurm.run("scancel", "--batch", "--signal=USR1", str(job))
    slurm.wait_until(lambda: "PENDING" in slurm.state(job), 30, "the job to be requeued")
    interrupted = rounds_done(run)
    assert read_json(run / "summary.json")["status"] == "interrupted"
    assert slurm.wait(job, 250) == 0, output_of(checkout, job)
    assert [each["after_round"] for each in read_json(run / "environment.json")["resumed"]] == [interrupted]
    assert_same(run, reference)


def test_array(slurm: Slurm, checkout: Path) -> None:
    options = ["--array=1-2", "--ntasks=3"]
    job = slurm.sbatch(
        "launch/slurm_array.sbatch", "launch/sweep.txt", "--rounds", "2", options=options, cwd=checkout
    )
    assert slurm.wait(job, 200) == 0
    slurm.wait_until(lambda: len(list(checkout.glob("runs/*/summary.json"))) == 2, 150, "both tasks")
    for task, density in ((1, "1.0"), (2, "0.3")):
        assert f"\ndensity = {density}\n" in (checkout / f"runs/job-{job}-{task}/config.toml").read_text()


def test_gpu_nodes(slurm: Slurm, checkout: Path) -> None:
    """The nodes have GPUs by name only, so the ranks compute on the CPU; every rank is shown one of them."""
    options = ["--nodes=2", "--gpus-per-node=2", "--ntasks-per-node=3", "--cpus-per-task=1"]
    job = slurm.sbatch("launch/slurm_gpu.sbatch", "--rounds", "2", options=options, cwd=checkout)
    assert slurm.wait(job, 200) == 0, output_of(checkout, job)
    assert read_json(checkout / f"runs/job-{job}/summary.json")["rounds"] == 2
    command = "srun -n 6 bash launch/bind_gpu.sh bash -c 'echo $SLURM_PROCID:$CUDA_VISIBLE_DEVICES'"
    shown = slurm.run("salloc", *options, "--ntasks=6", "bash", "-c", command, cwd=checkout)
    assert sorted(shown.split()) == ["0:0", "1:1", "2:0", "3:0", "4:1", "5:0"]


def test_srun_without_mpi_is_refused(slurm: Slurm, checkout: Path) -> None:
    """Three ranks, each alone in its world, would be three runs."""
    command = f"srun --ntasks=3 {sys.executable} -m fedcomloc_mpi.train"
    job = int(slurm.run("sbatch", "--parsable", "--ntasks=3", f"--wrap={command}", cwd=checkout))
    assert slurm.wait(job, 150) == 2
    said = output_of(checkout, job)
    assert said.count("each is alone in its MPI world") == 1, said
    assert "srun --mpi=pmi2" in said
    assert not (checkout / "runs").exists()
