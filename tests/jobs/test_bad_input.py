"""Bad input ends the job at once: one clear line, a non-zero exit code, nothing left behind."""

import gzip
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from tests.data.idx_files import IdxFolder
from tests.jobs.train_jobs import RankResult, files_below, train, train_alone, train_batch
from tests.mpirun import Job, mpirun

MISTAKE = 2


def assert_one_line(job: Job, pattern: str) -> None:
    """The job has failed, and the only thing that anybody wrote is one line that `pattern` describes."""
    assert job.returncode == MISTAKE, job
    assert job.stdout == "", job
    assert re.fullmatch(rf"fedcomloc_mpi\.train: {pattern}\n", job.stderr), job


@pytest.fixture
def empty_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


# What a user types, and the line that answers it. All of these are found before torch is imported.
COMMAND_LINES = {
    "cohort > clients": ("--clients 5 --cohort 6", "--cohort is 6: it must be at most --clients, which is 5"),
    "cohort > default clients": ("--cohort 21", "--cohort is 21: .*at most clients.*20"),
    "cohort 1": ("--cohort 1", "--cohort is 1: it must be 2 or more, .*control variates.*"),
    "cohort 0": ("--cohort 0", "--cohort is '?0'?: .*"),
    "density 0": ("--density 0", "--density is 0.0: .*above 0 and at most 1"),
    "density 1.5": ("--density 1.5", "--density is 1.5: .*above 0 and at most 1"),
    "bits 0": ("--bits 0", "--bits is 0: .*1 to 16 or 32"),
    "bits 17": ("--bits 17", "--bits is 17: .*1 to 16 or 32"),
    "compressor with fedavg": ("--algorithm fedavg --density 0.1", "--density is 0.1: fedavg .*fedcomloc-com.*"),
    "quantizer with fedavg": ("--algorithm fedavg --bits 8", "--bits is 8: fedavg .*fedcomloc-com.*"),
    "compressor with scaffnew": (
        "--algorithm scaffnew --density 0.1",
        "--density is 0.1: scaffnew .*fedcomloc-com.*",
    ),
    "one direction's compressor with scaffnew": (
        "--algorithm scaffnew --downlink-bits 8",
        "--downlink-bits is 8: scaffnew .*fedcomloc-com.*",
    ),
    "unknown data set": ("--dataset minst", r"--dataset is 'minst': .*\(did you mean mnist\?\)"),
    "unknown algorithm": ("--algorithm fedcomlog", "--algorithm is 'fedcomlog': .*did you mean fedcomloc-com.*"),
    "unknown flag": ("--denisty 0.1", "unknown flag '--denisty': did you mean --density.*"),
    "p = 0": ("--p 0", "--p is 0.0: .*"),
    "p > 1": ("--p 1.01", "--p is 1.01: .*"),
    "lr = nan": ("--lr nan", "--lr is '?nan'?: .*"),
    "lr = inf": ("--lr inf", "--lr is '?inf'?: .*"),
    "lr < 0": ("--lr -0.1", "--lr is -0.1: .*"),
    "no number": ("--rounds many", "--rounds is 'many': it must be an integer.*"),
    "no value": ("--rounds", "--rounds needs a value.*"),
    "missing configuration": ("--config none.toml", "--config: cannot read none.toml: No such file or directory"),
}  # fmt: skip


@pytest.mark.parametrize("case", COMMAND_LINES)
def test_command_line(case: str, empty_folder: Path) -> None:
    flags, pattern = COMMAND_LINES[case]
    assert_one_line(train(3, *flags.split(), cwd=empty_folder), pattern)
    assert files_below(empty_folder) == {}


CONFIGURATIONS = {
    "unknown key": ("denisty = 0.1", r"job\.toml has an unknown key 'denisty': did you mean density\?"),
    "bad value": ("lr = nan", r"lr in job\.toml is nan: .*"),
    "values that do not go together": ("clients = 3\ncohort = 4", r"cohort in job\.toml is 4: .*"),
    "no TOML": ("density: 0.1", r"job\.toml is not valid TOML: .*"),
}


@pytest.mark.parametrize("case", CONFIGURATIONS)
def test_configuration_file(case: str, empty_folder: Path) -> None:
    text, pattern = CONFIGURATIONS[case]
    (empty_folder / "job.toml").write_text(text)
    assert_one_line(train(3, "--config", "job.toml", cwd=empty_folder), pattern)
    assert files_below(empty_folder).keys() == {"job.toml"}


def test_a_file_that_is_missing_for_one_rank(empty_folder: Path) -> None:
    (empty_folder / "job.toml").write_text("rounds = 3\n")
    program = (
        "import os, sys\n"
        "from fedcomloc_mpi.train import main\n"
        "sys.exit(main(['--config', 'none.toml' if os.environ['PMI_RANK'] == '1' else 'job.toml']))\n"
    )
    job = mpirun(3, ["-c", program], cwd=empty_folder, timeout=60)
    assert_one_line(job, r"rank 1: --config: cannot read none\.toml: No such file or directory")
    assert files_below(empty_folder).keys() == {"job.toml"}


def test_ranks_with_different_flags(empty_folder: Path) -> None:
    program = (
        "import os, sys\n"
        "from fedcomloc_mpi.train import main\n"
        "sys.exit(main(['--rounds', '1', '--seed', os.environ['PMI_RANK'], '--lr', '0.5']))\n"
    )
    job = mpirun(2, ["-c", program], cwd=empty_folder, timeout=60)
    assert_one_line(job, r"the ranks were given different values of seed: .*")
    assert files_below(empty_folder) == {}


@pytest.mark.parametrize("launch", ["mpirun -n 1", "no mpirun"])
def test_one_rank(launch: str, empty_folder: Path) -> None:
    job = train_alone(cwd=empty_folder) if launch == "no mpirun" else train(1, cwd=empty_folder)
    assert_one_line(job, r"one rank only: .*at least 2 .*`mpirun -n 3 python -m fedcomloc_mpi\.train`")
    assert files_below(empty_folder) == {}


@pytest.mark.parametrize("variable", ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_launcher_of_another_mpi(variable: str, empty_folder: Path) -> None:
    job = train_alone(cwd=empty_folder, env={variable: "4"})
    assert_one_line(job, rf"4 processes were started \({variable}=4\) .* launcher belongs to another MPI .*")
    assert files_below(empty_folder) == {}


def test_only_the_first_of_many_singletons_speaks(empty_folder: Path) -> None:
    job = train_alone(cwd=empty_folder, env={"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2"})
    assert (job.returncode, job.stdout, job.stderr) == (MISTAKE, "", "")


def test_going_on_without_ranks_needs_ulfm(empty_folder: Path) -> None:
    job = train(3, "--on-rank-loss", "continue", cwd=empty_folder)
    assert_one_line(job, r"on_rank_loss is continue: .*Open MPI .*")
    assert files_below(empty_folder) == {}


def test_missing_data_folder(empty_folder: Path) -> None:
    job = train(3, "--dataset", "mnist", "--data-dir", "nowhere", cwd=empty_folder)
    assert_one_line(job, r"--dataset mnist: did not find train-images.*nowhere.*does not exist.*--download")
    assert files_below(empty_folder) == {}


class Mistake(NamedTuple):
    """Something that is wrong with a file: prepared in an empty folder, named by flags, answered by a line."""

    prepare: Callable[[Path], object]
    flags: str
    pattern: str


def nothing(folder: Path) -> None:
    pass


def truncated_gzip(folder: Path) -> None:
    path = IdxFolder(folder / "MNIST" / "raw").gz("train-images-idx3-ubyte")
    path.write_bytes(path.read_bytes()[:-1000])


def damaged_gzip(folder: Path) -> None:
    IdxFolder(folder / "MNIST" / "raw").gz("t10k-labels-idx1-ubyte").write_bytes(b"no gzip at all")


def gzip_of_something_else(folder: Path) -> None:
    IdxFolder(folder / "MNIST" / "raw").gz("train-labels-idx1-ubyte").write_bytes(gzip.compress(b"text" * 99))


class Trap:
    """An object whose pickle makes a folder when it is opened."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.mkdir, ("sprung",)


def corrupt_cifar(folder: Path) -> None:
    batches = folder / "cifar-10-batches-py"
    batches.mkdir()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (batches / name).write_bytes(pickle.dumps(Trap()))


def another_run(folder: Path) -> None:
    (folder / "run").mkdir()
    (folder / "run" / "rounds.jsonl").write_text("{}\n")


def a_file(folder: Path) -> None:
    (folder / "run").write_text("a file")


def mlp_state(inputs: int = 64) -> dict[str, torch.Tensor]:
    return torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(inputs, 200),
        torch.nn.ReLU(),
        torch.nn.Linear(200, 200),
        torch.nn.ReLU(),
        torch.nn.Linear(200, 10),
    ).state_dict()


def initial(content: object) -> Callable[[Path], None]:
    return lambda folder: torch.save(content, folder / "start.pt")


FROM_START = "--initial {0}/start.pt"
MISTAKES = {
    "no data folder": Mistake(nothing, "--dataset mnist", "--dataset mnist needs --data-dir .*"),
    "empty data folder": Mistake(
        nothing, "--dataset cifar10 --data-dir {0}", "--dataset cifar10: did not find data_batch_1.*looked in {0}.*"
    ),
    "truncated gzip": Mistake(
        truncated_gzip,
        "--dataset mnist --data-dir {0}",
        "{0}/MNIST/raw/train-images-idx3-ubyte.gz: truncated gzip file.*",
    ),
    "damaged gzip": Mistake(
        damaged_gzip, "--dataset mnist --data-dir {0}", "{0}/MNIST/raw/t10k-labels-idx1-ubyte.gz: damaged gzip file.*"
    ),
    "gzip of something else": Mistake(
        gzip_of_something_else,
        "--dataset mnist --data-dir {0}",
        "{0}/MNIST/raw/train-labels-idx1-ubyte.gz: not the idx file expected.*",
    ),
    "corrupt CIFAR batch": Mistake(
        corrupt_cifar,
        "--dataset cifar10 --data-dir {0}",
        "{0}/cifar-10-batches-py/test_batch: damaged or not the official CIFAR-10 batch.*",
    ),
    "out holds another run": Mistake(
        another_run, "--out {0}/run", r"--out {0}/run: the folder holds another run \(rounds.jsonl\).*"
    ),
    "out is a file": Mistake(a_file, "--out {0}/run", "--out {0}/run: {0}/run is not a folder"),
    "out below a file": Mistake(a_file, "--out {0}/run/1", "--out {0}/run/1: {0}/run is not a folder"),
    # Not even root can make a folder there.
    "out cannot be made": Mistake(nothing, "--out /proc/fedcomloc", ".*/proc.*"),
    "no GPU": Mistake(
        nothing, "--device cuda", r"--device cuda: rank 0, the server \(.*\) sees no GPU through torch.*--device auto.*"
    ),
    "more clients than samples": Mistake(
        nothing, "--clients 1443", "--clients 1443 is more than the 1442 training samples"
    ),
    "more shards than samples": Mistake(
        nothing, "--partition shards --clients 1000", "--clients 1000 x --shards-per-client 2 .*1442.*"
    ),
    "image too small": Mistake(nothing, "--model cnn", "image too small for model 'cnn': 8x8 .*--model mlp"),
    "initial is missing": Mistake(nothing, FROM_START, "cannot read {0}/start.pt: No such file or directory"),
    "initial is a folder": Mistake(
        lambda folder: (folder / "start.pt").mkdir(), FROM_START, "cannot read {0}/start.pt: Is a directory"
    ),
    "initial is text": Mistake(
        lambda folder: (folder / "start.pt").write_text("no model"), FROM_START, "{0}/start.pt is not a state_dict.*"
    ),
    "initial runs code": Mistake(initial(Trap()), FROM_START, "{0}/start.pt is not a state_dict.*"),
    "initial is a tensor": Mistake(initial(torch.zeros(3)), FROM_START, "{0}/start.pt holds no state_dict.*"),
    "initial of another shape": Mistake(
        initial(mlp_state(inputs=784)),
        FROM_START,
        r"{0}/start.pt: '1.weight' has shape \(200, 784\), in the model \(200, 64\)",
    ),
    "initial of another model": Mistake(
        initial({"conv.weight": torch.zeros(3)}), FROM_START, "{0}/start.pt does not fit the model: missing .*conv.*"
    ),
    "initial is not finite": Mistake(
        initial(mlp_state() | {"5.bias": torch.full((10,), float("nan"))}),
        FROM_START,
        "{0}/start.pt holds NaN or an infinity",
    ),
}  # fmt: skip


class Answers(NamedTuple):
    """What each rank answered to each mistake, and each mistake's folder before and after."""

    ranks: dict[str, list[RankResult]]
    before: dict[str, dict[str, tuple[int, int]]]
    after: dict[str, dict[str, tuple[int, int]]]
    working_folder: dict[str, tuple[int, int]]


def folder_of(case: str, root: Path) -> Path:
    return root / case.replace(" ", "-")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mistakes")


@pytest.fixture(scope="module")
def answers(root: Path) -> Answers:
    """Make all mistakes, one after the other, in one job of three ranks."""
    lines, before = [], {}
    for case, mistake in MISTAKES.items():
        folder = folder_of(case, root)
        folder.mkdir()
        mistake.prepare(folder)
        before[case] = files_below(folder)
        lines.append(mistake.flags.split(" "))
    filled = [
        [flag.format(folder_of(case, root)) for flag in line]
        for case, line in zip(MISTAKES, lines, strict=True)
    ]
    cwd = root / "cwd"
    cwd.mkdir()
    results = train_batch(3, filled, root / "results", cwd)
    after = {case: files_below(folder_of(case, root)) for case in MISTAKES}
    return Answers(dict(zip(MISTAKES, results, strict=True)), before, after, files_below(cwd))


@pytest.mark.parametrize("case", MISTAKES)
def test_files(case: str, answers: Answers, root: Path) -> None:
    server, *clients = answers.ranks[case]
    pattern = MISTAKES[case].pattern.replace("{0}", re.escape(str(folder_of(case, root))))
    assert re.fullmatch(rf"fedcomloc_mpi\.train: {pattern}\n", server.stderr), server
    assert (server.code, server.stdout) == (MISTAKE, "")
    assert clients == [RankResult(MISTAKE, "", "")] * 2
    assert answers.after[case] == answers.before[case]


def test_files_leave_nothing_in_the_working_folder(answers: Answers) -> None:
    assert answers.working_folder == {}
