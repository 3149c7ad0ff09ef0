"""The main job with the MPI libraries of a Linux distribution, started by launch/job.sh as on a cluster."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster import sites
from tests.cluster.runs import SHORT, assert_same, read_json
from tests.mpirun import ROOT, RunningJob

pytestmark = pytest.mark.timeout(400)


@pytest.mark.parametrize("exchange", ["collectives", "p2p"])
@pytest.mark.parametrize(
    ("mpi", "make", "library"),
    [("openmpi", sites.open_mpi_4, "Open MPI v4"), ("mpich", sites.mpich_4, "MPICH Version:\t4")],
)
def test_site(
    short_reference: Path,
    tmp_path: Path,
    mpi: str,
    make: Callable[[], sites.Site],
    library: str,
    exchange: str,
) -> None:
    site = make()
    variables = {"MPI": mpi, "RANKS": "4", "OUT": "run", "VENV": str(site.folder), **site.variables}
    command = ["bash", str(ROOT / "launch/job.sh"), *SHORT, "--exchange", exchange]
    with RunningJob(command, variables, tmp_path) as running:
        job = running.wait(280)
    assert job.returncode == 0, job
    assert read_json(tmp_path / "run/environment.json")["mpi_library"].startswith(library)
    assert_same(tmp_path / "run", short_reference)


def test_open_mpi_5_with_ulfm(short_reference: Path, tmp_path: Path) -> None:
    """A job that would go on without ranks, and loses none."""
    site = sites.open_mpi_5()
    variables = {"MPI": "openmpi", "RANKS": "4", "OUT": "run", "VENV": str(site.folder), **site.variables}
    command = ["bash", str(ROOT / "launch/job.sh"), *SHORT, "--on-rank-loss", "continue"]
    with RunningJob(command, {**variables, "LAUNCH_FLAGS": "--with-ft ulfm"}, tmp_path) as running:
        job = running.wait(280)
    assert job.returncode == 0, job
    assert_same(tmp_path / "run", short_reference)


def test_pbs(short_reference: Path, tmp_path: Path) -> None:
    """The script for PBS, with what PBS sets, though not by PBS."""
    site = sites.mpich_4()
    (tmp_path / "launch").symlink_to(ROOT / "launch")
    (tmp_path / "hosts").write_text("localhost\n" * 3)
    variables = {
        "PBS_O_WORKDIR": str(tmp_path),
        "PBS_NODEFILE": str(tmp_path / "hosts"),
        "PBS_JOBID": "7.server",
        "FLAGS": " ".join(SHORT),
        "VENV": str(site.folder),
        **site.variables,
    }
    with RunningJob(["bash", str(ROOT / "launch/pbs_cpu.sh")], variables, tmp_path) as running:
        job = running.wait(280)
    assert job.returncode == 0, job
    assert read_json(tmp_path / "runs/job-7.server/environment.json")["ranks"] == 3
    assert_same(tmp_path / "runs/job-7.server", short_reference)
