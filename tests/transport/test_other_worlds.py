"""The tests of this folder that need MPI, once more on a number of ranks that is no power of two."""

from pathlib import Path

from tests.mpirun import ROOT, mpirun

RANKS = 5


def test_five_ranks(tmp_path: Path) -> None:
    here = Path(__file__).parent.relative_to(ROOT)
    pytest_arguments = ["-m", "mpi", "--with-mpi", "--timeout-method=thread", "-p", "no:cacheprovider", "-q"]
    job = mpirun(
        RANKS,
        ["-m", "tests.outcomes", tmp_path, str(RANKS), *pytest_arguments, here],
        timeout=280,
        cwd=ROOT,
    )
    assert job.returncode == 0, job
    assert " passed" in job.stdout, job
