"""Runs that are cut and resumed: the same model and the same records, bit by bit, as one that was never cut.

Six cuts, all of one run; tests/soak has many more.
"""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fedcomloc_mpi.config import METHODS
from fedcomloc_mpi.data import holds_partition, load, partition
from tests.mpirun import RunningJob, mpirun, start

pytestmark = pytest.mark.timeout(400)

# About 30 ms a round with 3 ranks.
SETTINGS = ["--clients", "12", "--cohort", "5", "--p", "0.4", "--eval-every", "6", "--seed", "3"]
ROUNDS = 60
RUN = [*SETTINGS, "--rounds", str(ROUNDS), "--checkpoint-every", "4"]
TRAIN = ["-m", "fedcomloc_mpi.train"]

NODES = Path(__file__).with_name("nodes.py")

# Runs each command line of the list in argv[1] on all ranks; the first says which codes they ended with.
BATCH = """
import json, sys
from mpi4py import MPI
from fedcomloc_mpi import train
codes = [train.main(line) for line in json.loads(sys.argv[1])]
if MPI.COMM_WORLD.rank == 0:
    print("codes", json.dumps(codes))
"""


def batch(ranks: int, *lines: Sequence[str | Path], cwd: Path) -> tuple[list[int], str]:
    """Run command lines one after the other in one job; return their exit codes and all that was printed."""
    text = json.dumps([[os.fspath(argument) for argument in line] for line in lines])
    job = mpirun(ranks, ["-m", "mpi4py", "-c", BATCH, text], cwd=cwd, timeout=100)
    assert job.returncode == 0, job
    codes = json.loads(job.stdout.rpartition("codes ")[2])
    return codes, job.stdout + job.stderr


def records(folder: Path) -> list[dict[str, Any]]:
    """The records of a run without what depends on time and on the number of ranks."""
    found = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    for record in found:
        del record["seconds"], record["uplink"]["mpi_bytes"], record["downlink"]["mpi_bytes"]
    return found


def rounds_done(folder: Path) -> int:
    path = folder / "rounds.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def assert_same(folder: Path, other: Path) -> None:
    assert records(folder) == records(other)
    for name in ("final.pt", "final_compressed.pt", "initial.pt"):
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    one, two = (json.loads((each / "summary.json").read_text()) for each in (folder, other))
    assert one["status"] == two["status"] == "finished"
    for side in ("uplink", "downlink"):
        for kind in ("payload_bytes", "paper_bytes", "bound_bytes", "dense_bytes"):
            assert one[side][kind] == two[side][kind]
    assert one["downlink"]["device_bytes"] == two["downlink"]["device_bytes"]
    assert one["control_sum"] == pytest.approx(two["control_sum"], rel=1e-6)


def wait_until(condition: Callable[[], bool], job: RunningJob) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert job.process.poll() is None, job.output()
        assert time.monotonic() < end, job.output()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    job = mpirun(2, [*TRAIN, *RUN, "--out", folder], cwd=folder.parent)
    assert job.returncode == 0, job
    return folder


def cut(
    arguments: Sequence[str | Path], folder: Path, at: int, number: int, rank: int | None, ranks: int
) -> tuple[int, str]:
    """Start a job, signal a rank (None: mpirun) once round `at` is recorded; return the exit code and all output."""
    with start(ranks, [*TRAIN, *arguments], cwd=folder.parent) as running:
        wait_until(lambda: rounds_done(folder) >= at, running)
        if rank is None:
            running.process.send_signal(number)
        else:
            facts = json.loads((folder / "environment.json").read_text())
            facts = facts["resumed"][-1] if "resumed" in facts else facts
            os.kill(facts["process_of_rank"][rank], number)
        job = running.wait(60)
    assert rounds_done(folder) < ROUNDS, "the job was not cut in time"
    return job.returncode, job.stdout + job.stderr


def test_a_run_that_is_cut_again_and_again(uninterrupted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    resume: list[str | Path] = ["--resume", folder]

    code, _ = cut([*RUN, "--out", folder], folder, 2, signal.SIGKILL, 1, ranks=3)
    assert code != 0  # before the first checkpoint but that of round 0

    code, text = cut(resume, folder, 10, signal.SIGTERM, None, ranks=3)
    assert "after round 0\n" in text
    assert code == 128 + signal.SIGTERM
    assert json.loads((folder / "summary.json").read_text())["status"] == "interrupted"
    stopped = rounds_done(folder)

    code, text = cut([*resume, "--exchange", "p2p"], folder, 20, signal.SIGKILL, 0, ranks=3)
    assert f"after round {stopped}\n" in text
    assert code != 0
    assert not (folder / "summary.json").exists()  # that of the interrupted run is no longer true
    newest = max((folder / "checkpoints").glob("*.state"))
    newest.write_bytes(newest.read_bytes()[:-1])

    line = [*resume, "--round-timeout", "3"]
    code, text = cut(line, folder, 27, signal.SIGSTOP, 2, ranks=3)
    assert f"the checkpoint of round {int(newest.stem)} is refused: {newest.name} is damaged\n" in text
    assert f"after round {int(newest.stem) - 4}\n" in text
    assert code == 4
    assert "fedcomloc_mpi.train: rank 0 waited 3 s in vain for rank 2 (process " in text
    assert "(stopped by a signal)\n" in text

    code, text = cut(resume, folder, 35, signal.SIGUSR1, None, ranks=4)
    assert code == 128 + signal.SIGUSR1

    code, text = cut(line, folder, 45, signal.SIGSTOP, 0, ranks=3)
    assert code == 4
    assert "in vain for rank 0, the server (process " in text

    job = mpirun(3, [*TRAIN, *resume], cwd=tmp_path)
    assert job.returncode == 0, job
    assert_same(folder, uninterrupted)
    assert len(json.loads((folder / "environment.json").read_text())["resumed"]) == 6
    leftovers = [path for path in folder.rglob("*") if path.name.startswith(".")]
    assert not leftovers


def test_finished_runs(uninterrupted: Path, tmp_path: Path) -> None:
    """A finished run may be resumed, which changes nothing, or made longer; what cannot be resumed is refused."""
    short, again = tmp_path / "short", tmp_path / "again"
    shutil.copytree(uninterrupted, again)
    (again / "final.pt").unlink()  # as if killed after the last checkpoint
    before = (again / "rounds.jsonl").read_bytes()
    elsewhere = tmp_path / "damaged"
    shutil.copytree(uninterrupted, elsewhere)
    for path in (elsewhere / "checkpoints").glob("*.state"):
        path.write_bytes(path.read_bytes() + b"x")
    codes, text = batch(
        2,
        [*SETTINGS, "--rounds", "15", "--out", short],
        ["--resume", short, "--rounds", str(ROUNDS), "--checkpoint-every", "7", "--keep-checkpoints", "1"],
        ["--resume", again],
        ["--resume", short, "--lr", "0.01"],
        ["--resume", short, "--rounds", "59"],
        ["--resume", tmp_path / "nothing"],
        ["--resume", elsewhere],
        ["--resume", short, "--clients", "10", "--allow-config-change"],
        ["--resume", short, "--partition", "iid", "--allow-config-change"],
        cwd=tmp_path,
    )
    assert codes == [0, 0, 0, 2, 2, 2, 2, 2, 0], text
    # Its 15th round was evaluated as the last one; that of the longer run is not.
    assert_same(short, uninterrupted)
    assert_same(again, uninterrupted)
    assert (again / "rounds.jsonl").read_bytes() == before
    assert len(list((short / "checkpoints").glob("*.state"))) == 2
    for message in (
        "lr is 0.2 there and cannot become 0.01",
        f"--rounds 59: the run in {short} has a checkpoint of round {ROUNDS} already",
        "no run is there",
        f"no checkpoint in {elsewhere / 'checkpoints'} can be used: the checkpoint of round {ROUNDS} is refused",
        "its checkpoints are of a job with clients 12, this one has 10",
    ):
        assert message in text


def test_another_seed(tmp_path: Path) -> None:
    """partition.npz is what clients train on, and the control sum is that of all who have taken part under any seed."""
    folder = tmp_path / "run"
    sizes = ["--clients", "40", "--cohort", "4", "--p", "0.5", "--downlink-density", "0.05"]
    codes, text = batch(
        3,
        [*sizes, "--seed", "3", "--rounds", "6", "--out", folder],
        ["--resume", folder, "--rounds", "8", "--seed", "5", "--allow-config-change"],
        cwd=tmp_path,
    )
    assert codes == [0, 0], text
    labels = load("digits").train_labels
    for seed in (3, 5):
        clients = partition(labels, "dirichlet", 40, seed=seed).clients
        assert holds_partition(folder / "partition.npz", clients) == (seed == 5)
    control_sum = json.loads((folder / "summary.json").read_text())["control_sum"]
    recorded = records(folder)[-1]["control_sum_norm"]
    # Not 0, whoever is left out: the server adds up what it knows of, in another order.
    assert control_sum["norm"] == pytest.approx(recorded, rel=1e-4)
    assert recorded > 1e-2


def test_broken_folders(uninterrupted: Path, tmp_path: Path) -> None:
    """What stands where a run's file should be is named in one line, and nothing is begun."""
    broken = {
        "environment.json": b"[]",
        "environment.json ": b'{"resumed": 5}',
        "environment.json  ": b"\xff",
        "environment.json   ": b'{"threads": NaN}',
        "partition.npz": b"PK",
        "checkpoints": b"x",
        "summary.json/": None,
        "environment.json/": None,
        "rounds.jsonl/": None,
    }
    folders = [tmp_path / str(number) for number in range(len(broken))]
    for folder, (name, content) in zip(folders, broken.items(), strict=True):
        shutil.copytree(uninterrupted, folder)
        path = folder / name.strip(" /")
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.mkdir() if content is None else path.write_bytes(content)
    lines: list[list[str | Path]] = [["--resume", folder, "--rounds", str(ROUNDS + 1)] for folder in folders]
    codes, text = batch(2, *lines, cwd=tmp_path)
    assert codes == [2] * len(folders), text
    assert "Traceback" not in text
    said = [line for line in text.splitlines() if line.startswith("fedcomloc_mpi.train: ")]
    assert len(said) == len(folders), text
    for line, folder, name in zip(said, folders, broken, strict=True):
        assert str(folder / name.strip(" /")) in line


VARIANTS: dict[str, list[str]] = {
    **{f"of {name}": ["--algorithm", name] for name in METHODS},
    "with a server step": ["--server-step", "0.5", "--weighting", "samples"],
    "with a shared lattice": ["--lattice", "shared", "--bits", "8"],
    "with a schedule": ["--lr-schedule", "cosine", "--lr-decay-rounds", "9", "--downlink-density", "0.2"],
}


def test_all_state_of_every_algorithm(tmp_path: Path) -> None:
    """Seven rounds, then five more, against twelve."""
    lines: list[list[str | Path]] = []
    for name, flags in VARIANTS.items():
        common = [*SETTINGS, *flags, "--out"]
        lines += [
            [*common, tmp_path / f"whole {name}", "--rounds", "12"],
            [*common, tmp_path / f"cut {name}", "--rounds", "7"],
            ["--resume", tmp_path / f"cut {name}", "--rounds", "12"],
        ]
    codes, text = batch(3, *lines, cwd=tmp_path)
    assert codes == [0] * len(lines), text
    for name in VARIANTS:
        whole, resumed = tmp_path / f"whole {name}", tmp_path / f"cut {name}"
        assert records(whole) == records(resumed), name
        assert (whole / "final.pt").read_bytes() == (resumed / "final.pt").read_bytes(), name


def test_on_several_nodes(uninterrupted: Path, tmp_path: Path) -> None:
    """The leader of each node writes its clients' rows; the run goes on with other nodes, and then on one."""
    folder = tmp_path / "run"
    lines: list[tuple[int, int, list[str | Path]]] = [
        (4, 2, [*SETTINGS, "--rounds", "21", "--checkpoint-every", "3", "--out", folder]),
        (5, 3, ["--resume", folder, "--rounds", "41", "--exchange", "p2p"]),
        (2, 1, ["--resume", folder, "--rounds", str(ROUNDS), "--exchange", "collectives"]),
    ]
    for ranks, nodes, line in lines:
        job = mpirun(ranks, [NODES, str(nodes), *line], cwd=tmp_path)
        assert job.returncode == 0, job
        newest = max((folder / "checkpoints").glob("*.state")).stem
        assert len(list((folder / "checkpoints").glob(f"{newest}-*.rows"))) == nodes
        if nodes == 2:  # a damaged file of the other node is found too
            path = folder / "checkpoints" / f"{newest}-1.rows"
            path.write_bytes(path.read_bytes()[:-30])
        if nodes == 3:
            assert f"is refused: {path.name} is damaged\n" in job.stdout
            assert "after round 18\n" in job.stdout
    assert_same(folder, uninterrupted)


def test_one_job_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    line: list[str | Path] = [*SETTINGS, "--rounds", "100000", "--out", folder]
    with start(2, [*TRAIN, *line], cwd=tmp_path) as running:
        wait_until(lambda: rounds_done(folder) > 0, running)
        job = mpirun(2, [*TRAIN, "--resume", folder], cwd=tmp_path)
        assert job.returncode == 2, job
        assert f"fedcomloc_mpi.train: {folder} is in use by another job\n" in job.stderr, job
        assert running.process.poll() is None
