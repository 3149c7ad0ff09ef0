import subprocess
import sys
from pathlib import Path

from bench import rows
from tests.mpirun import ROOT, clean_environment


def measure(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.device", "--dataset", "digits", "--ranks", "2", "--repeats", "1"]
    return subprocess.run(
        [*command, "--rounds", "2", *words],
        cwd=ROOT,
        env=clean_environment(),
        timeout=100,
        capture_output=True,
        text=True,
    )


def test_a_job_is_a_row_and_a_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    done = measure("--device", "cpu", "--csv", str(path))
    assert done.returncode == 0, done.stderr
    (row,) = rows.read(path)
    assert (row["dataset"], row["ranks"], row["device"], row["rounds"]) == ("digits", "2", "cpu", "2")
    assert float(row["seconds"]) > 0
    assert done.stdout.splitlines()[1].split()[:3] == ["digits", "2", "cpu"]


def test_without_a_gpu_it_says_so() -> None:
    """`clean_environment` hides those that there are."""
    done = measure("--device", "cuda")
    assert done.returncode == 2
    assert "bench.device: exit code 2" in done.stderr
    assert "GPU" in done.stderr
