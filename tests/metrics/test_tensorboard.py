"""Event files hold the figures of every round, and are a matter of one flag."""

import subprocess
import sys
from pathlib import Path

import pytest

from fedcomloc_mpi.metrics.tensorboard import EventWriter, scalars
from tests.mpirun import clean_environment, mpirun
from tests.reporting.folders import record

pytest.importorskip("tensorboard", reason="TensorBoard is not installed")


def events(folder: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return [(event.step, event.value) for event in read.Scalars(tag)]


def test_rounds_are_steps(tmp_path: Path) -> None:
    with EventWriter(tmp_path, 1) as writer:
        for number in (1, 2, 3, 4):
            writer.write(record(number))
    assert events(tmp_path, "accuracy/test") == [(2, 0.5), (4, 0.75)]
    assert events(tmp_path, "bytes_uplink/payload") == [(number, 1000.0 * number) for number in (1, 2, 3, 4)]


def test_a_resumed_run_hides_what_it_repeats(tmp_path: Path) -> None:
    for first, last in ((1, 4), (3, 3)):
        with EventWriter(tmp_path, first) as writer:
            for number in range(first, last + 1):
                writer.write(record(number))
    assert [step for step, _ in events(tmp_path, "loss/train")] == [1, 2, 3]


def test_what_was_not_measured_is_left_out() -> None:
    assert "accuracy/test" not in scalars(record(1))
    assert scalars(record(2))["accuracy/test"] == 0.5


def test_a_job_writes_them_on_request(tmp_path: Path) -> None:
    flags = ["--rounds", "2", "--eval-every", "1", "--out", str(tmp_path / "run")]
    job = mpirun(2, ["-m", "fedcomloc_mpi.train", *flags, "--tensorboard"])
    assert job.returncode == 0, job
    assert len(events(tmp_path / "run" / "tensorboard", "accuracy/test")) == 2


def test_without_tensorboard_one_line_says_so() -> None:
    code = (
        "import sys; sys.modules['tensorboard'] = None\n"
        "from fedcomloc_mpi.metrics import require_tensorboard\n"
        "require_tensorboard()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(), capture_output=True, text=True, timeout=60
    )
    assert "UserError: --tensorboard needs TensorBoard: pip install 'fedcomloc_mpi[report]'" in done.stderr
