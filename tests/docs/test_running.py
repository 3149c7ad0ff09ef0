"""Every command of docs/running.md is run, in order and in one folder; long runs are cut short."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mpirun import ROOT, clean_environment, launcher

RUNNING = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")

# What is run in place of what is written, in this order, so that the whole page takes a minute: a rank takes longer to
# start than such a run to train. The first run is resumed on another number of ranks still.
SHORTER = {
    "-n 3": "-n 2",
    "-n 4": "-n 3",
    "-n 5": "-n 2",
    "-n 11": "-n 3",
    "--rounds 200 --checkpoint-every 20": "--rounds 12 --checkpoint-every 5",
    "--rounds 250": "--rounds 15",
    "--rounds 260": "--rounds 17",
    "--rounds 100": "--rounds 3",
    "--rounds 50": "--rounds 3",
    " 1h ": " 8s ",
}


def commands(language: str) -> list[str]:
    blocks = re.findall(rf"^```{language}\n(.*?)^```", RUNNING, re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


def shorter(command: str) -> str:
    for long, short in SHORTER.items():
        command = re.sub(re.escape(long) + r"(?!\d)", short, command)
    return command


@pytest.mark.timeout(400)
def test_the_whole_page(tmp_path: Path) -> None:
    for command in commands("console"):
        words = shlex.split(shorter(command))
        words[words.index("mpirun")] = launcher()
        words[words.index("python")] = sys.executable
        done = subprocess.run(
            words, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=100
        )
        assert done.returncode == (138 if words[0] == "timeout" else 0), (
            f"{command}\n{done.stdout}{done.stderr}"
        )
    ended = {
        folder.name: json.loads((folder / "summary.json").read_text()) for folder in tmp_path.glob("*[!s]")
    }
    assert ended["night"]["status"] == "finished"
    assert ended["night"]["rounds"] == 17
    assert ended["limited"]["status"] == "interrupted"
    assert list(tmp_path.glob("limited/checkpoints/*.state"))
    assert len(list(tmp_path.glob("runs/*/summary.json"))) == 5


def test_the_soak_is_a_target_of_its_own() -> None:
    """It takes too long to be run here, or by `make test`."""
    assert commands("sh") == ["make soak"]
    done = subprocess.run(["make", "-n", "soak"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "-m tests.soak.run" in done.stdout
    assert "soak" not in (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert set(re.findall(r"^```(\w+)$", RUNNING, re.MULTILINE)) == {"console", "sh"}


def test_what_may_change_is_what_the_page_says() -> None:
    from fedcomloc_mpi.config import OPTIONS

    said = RUNNING.partition("These may change: ")[2].partition(". ")[0]
    assert set(re.findall(r"`(--[\w-]+)`", said)) == {
        option.flag for option in OPTIONS.values() if option.may_change
    }
