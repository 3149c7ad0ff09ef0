"""Every command of docs/hpc.md is run, in order and in one folder; jobs are cut short, and have fewer ranks."""

import re
import shlex
from pathlib import Path

import pytest

from tests.cluster import sites
from tests.cluster.runs import output_of, read_json, rounds_done
from tests.cluster.slurm import Slurm
from tests.mpirun import ROOT, RunningJob

pytestmark = pytest.mark.timeout(600)

HPC = (ROOT / "docs" / "hpc.md").read_text(encoding="utf-8")
# By the script: what is asked of SLURM in place of what it or the page asks for.
FEWER = {
    "launch/slurm_cpu.sbatch": ["--ntasks-per-node=1", "--ntasks=3", "--nodes=2-3"],
    "launch/slurm_gpu.sbatch": ["--ntasks-per-node=2"],
    "launch/slurm_array.sbatch": ["--ntasks=2"],
}


def commands() -> list[str]:
    assert set(re.findall(r"^```(\w+)$", HPC, re.MULTILINE)) == {"console"}
    blocks = re.findall(r"^```console\n(.*?)^```", HPC, re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


def submit(slurm: Slurm, checkout: Path, words: list[str]) -> int:
    """Run one sbatch of the page, with variables in front of it; return the job's number."""
    env = dict(word.split("=", 1) for word in words[: words.index("sbatch")])
    (script,) = (word for word in words if word in FEWER)
    where = words.index(script)
    options = [*words[words.index("sbatch") + 1 : where], *FEWER[script]]
    return slurm.sbatch(script, *words[where + 1 :], options=options, cwd=checkout, env=env)


def test_the_whole_page(slurm: Slurm, checkout: Path) -> None:
    jobs: list[int] = []
    for command in commands():
        words = shlex.split(re.sub(r"--rounds \d+", "--rounds 3", command))
        if "sbatch" in words:
            jobs.append(submit(slurm, checkout, words))
            continue
        if words[0] == "scontrol":
            # A job that has run: it is queued again, and has nothing left to do.
            (number,) = re.findall(r"\d+", command)
            words[words.index(number)] = str(jobs[0])
            slurm.wait(jobs[0], 200)
            slurm.wait_until(lambda: slurm.state(jobs[0]) != "COMPLETING", 30, "the end of the first job")
        if words[0] == "mpirun":
            site = sites.open_mpi_5()
            words = [str(site.mpirun), *words[1:]]
            words[words.index("python")] = str(site.python)
            with RunningJob(words, site.variables, checkout) as running:
                job = running.wait(250)
            assert job.returncode == 0, job
        else:
            slurm.run(*words, cwd=checkout)
    for job_number in jobs:
        assert slurm.wait(job_number, 250) == 0, output_of(checkout, job_number)
    summaries = [read_json(path) for path in checkout.glob("runs/*/summary.json")]
    # One for each submitted job and three more tasks of the array, one in the allocation, one without SLURM.
    assert len(summaries) == len(jobs) + 3 + 1 + 1
    assert all(summary["status"] == "finished" for summary in summaries)
    assert rounds_done(checkout / f"runs/job-{jobs[0]}") == 3
    assert slurm.restarts(jobs[0]) == 1


def test_the_table_is_that_of_the_script() -> None:
    script = (ROOT / "launch/job.sh").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(\w+)` \|", HPC, re.MULTILINE))
    assert listed == {"MPI", "LAUNCH", "MODULES", "VENV", "THREADS", "LAUNCH_FLAGS"}
    assert listed <= set(re.findall(r"^#   (\w+) ", script, re.MULTILINE))
