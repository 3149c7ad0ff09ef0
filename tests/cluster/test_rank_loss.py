"""--on-rank-loss continue, with the ULFM of Open MPI 5: ranks die, and the results are those of an undisturbed run."""

from pathlib import Path

import pytest

from tests.cluster import sites
from tests.cluster.runs import SHORT, assert_same, read_json, records, train_here
from tests.mpirun import Job, RunningJob

pytestmark = pytest.mark.timeout(600)

LOSE_RANKS = Path(__file__).with_name("lose_ranks.py")
LAST = 24
FEDDYN = ["--algorithm", "feddyn", "--density", "1", "--server-step", "0.7"]


def lose(ranks: int, nodes: int, faults: str, *flags: str, cwd: Path) -> Job:
    """Run a job that goes on after losses, with `faults` as lose_ranks.py takes them."""
    site = sites.open_mpi_5()
    command = [str(site.mpirun), "--with-ft", "ulfm", "-n", str(ranks), str(site.python), str(LOSE_RANKS)]
    settled = ["--on-rank-loss", "continue", "--out", "run"]
    with RunningJob([*command, str(nodes), faults, *SHORT, *flags, *settled], site.variables, cwd) as job:
        return job.wait(280)


@pytest.fixture(scope="module")
def undisturbed(short_reference: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of three ranks that all live."""
    folder = tmp_path_factory.mktemp("undisturbed")
    train_here(3, *SHORT, *FEDDYN, "--out", "feddyn", cwd=folder)
    return {"com": short_reference, "feddyn": folder / "feddyn"}


def lost(run: Path) -> list[tuple[int, int]]:
    """The (rank, round) of each loss, of which all files must say the same."""
    summary = [
        (each["rank"], each["round"]) for each in read_json(run / "summary.json").get("lost_ranks", [])
    ]
    environment = [
        (each["rank"], each["round"]) for each in read_json(run / "environment.json").get("lost_ranks", [])
    ]
    assert summary == environment
    return summary


def test_eleven_ranks_lose_two(short_reference: Path, tmp_path: Path) -> None:
    job = lose(11, 1, "3:6:local,8:15:committed", cwd=tmp_path)
    assert job.returncode == 0, job
    run = tmp_path / "run"
    (third, first), (eighth, second) = lost(run)
    assert (third, eighth) == (3, 8)
    # Rank 8 dies in what it owes for a round, while the server waits for the next one.
    assert 6 <= first < second
    assert second >= 16
    assert f"is lost in round {first}: 10 ranks go on" in job.stdout
    assert f"is lost in round {second}: 9 ranks go on" in job.stdout
    assert "rank 8 was lost" in job.stdout
    assert_same(run, short_reference)


@pytest.mark.parametrize(
    ("method", "faults", "flags"),
    [
        # Two in the same round; one that leads its node, as a checkpoint is due.
        ("com", "1:10:commit,4:10:local", ["--exchange", "p2p"]),
        # In the first and in the last round.
        ("feddyn", f"3:1:local,2:{LAST}:committed", FEDDYN),
        ("com", f"1:{LAST}:downlink,2:7:downlink", []),
    ],
)
def test_moments(
    undisturbed: dict[str, Path], tmp_path: Path, method: str, faults: str, flags: list[str]
) -> None:
    """On two nodes, of which rank 1 leads the one without the server; then the run goes on elsewhere."""
    job = lose(6, 2, faults, *flags, cwd=tmp_path)
    assert job.returncode == 0, job
    run = tmp_path / "run"
    assert len(lost(run)) == 2
    assert_same(run, undisturbed[method])
    # The checkpoints are whole: cut back to the one before the last, the run ends as before.
    newest = max((run / "checkpoints").glob("*.state"))
    newest.unlink()
    (run / "final.pt").unlink()
    train_here(2, "--resume", "run", "--on-rank-loss", "stop", cwd=tmp_path)
    assert_same(run, undisturbed[method])


def test_without_the_server(tmp_path: Path) -> None:
    job = lose(3, 1, "0:5:sending", cwd=tmp_path)
    assert job.returncode == 4, job
    assert "rank 0, the server (process" in job.stderr
    assert len(records(tmp_path / "run")) == 4


def test_a_node_without_ranks(undisturbed: dict[str, Path], tmp_path: Path) -> None:
    """Its clients' control variates are gone: the job ends, and what is left is good to go on from."""
    job = lose(3, 2, "1:12:local", cwd=tmp_path)
    assert job.returncode == 4, job
    assert "whose memory holds its clients' state: --resume goes on from the last checkpoint" in job.stderr
    train_here(3, "--resume", "run", "--on-rank-loss", "stop", cwd=tmp_path)
    assert_same(tmp_path / "run", undisturbed["com"])


def test_a_node_without_ranks_and_without_state(tmp_path: Path) -> None:
    """Clients of a method without control variates move to other nodes."""
    flags = ["--algorithm", "sparsefedavg"]
    job = lose(4, 3, "1:12:local", *flags, cwd=tmp_path)
    assert job.returncode == 0, job
    assert [rank for rank, _ in lost(tmp_path / "run")] == [1]
    train_here(2, *SHORT, *flags, "--out", "undisturbed", cwd=tmp_path)
    assert_same(tmp_path / "run", tmp_path / "undisturbed")


def test_ulfm_must_be_on(tmp_path: Path) -> None:
    site = sites.open_mpi_5()
    command = [str(site.mpirun), "-n", "2", str(site.python), "-m", "fedcomloc_mpi.train"]
    with RunningJob([*command, "--on-rank-loss", "continue"], site.variables, tmp_path) as running:
        job = running.wait(60)
    assert job.returncode == 2, job
    assert "mpirun --with-ft ulfm" in job.stderr
    assert not (tmp_path / "runs").exists()
