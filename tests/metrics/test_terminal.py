import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from fedcomloc_mpi.metrics.terminal import on_terminal


class Processes:
    """A /proc with chosen ancestors, for a process whose output is a pipe."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.next = 1000
        monkeypatch.setattr(os, "getppid", lambda: 1000)
        monkeypatch.setattr(os, "isatty", lambda descriptor: False)

    def add(self, name: str, stdout: str, stderr: str) -> None:
        """Add the parent of the process added last."""
        folder = self.root / str(self.next)
        (folder / "fd").mkdir(parents=True)
        (folder / "comm").write_text(f"{name}\n")
        (folder / "stat").write_text(f"{self.next} ({name} (odd) name) S {self.next + 1} 7 7 0")
        (folder / "fd" / "1").symlink_to(stdout)
        (folder / "fd" / "2").symlink_to(stderr)
        self.next += 1


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Processes:
    return Processes(tmp_path, monkeypatch)


def test_mpirun_on_a_terminal(processes: Processes) -> None:
    processes.add("hydra_pmi_proxy", "/dev/null", "/dev/null")
    processes.add("mpirun", "/home/user/log.txt", "/dev/pts/3")
    assert on_terminal(2, processes.root)
    assert not on_terminal(1, processes.root)


@pytest.mark.parametrize("name", ["bash", "slurmstepd"])
def test_other_parents_are_not_asked(processes: Processes, name: str) -> None:
    processes.add(name, "/dev/pts/3", "/dev/pts/3")
    processes.add("mpirun", "/dev/pts/3", "/dev/pts/3")
    assert not on_terminal(2, processes.root)


def test_a_proxy_started_by_a_remote_shell(processes: Processes) -> None:
    processes.add("hydra_pmi_proxy", "pipe:[1]", "pipe:[2]")
    assert not on_terminal(2, processes.root)


def test_no_proc(processes: Processes) -> None:
    assert not on_terminal(2, processes.root / "absent")


def test_own_descriptor() -> None:
    controller, terminal = pty.openpty()
    reading, pipe = os.pipe()
    try:
        assert on_terminal(terminal)
        assert not on_terminal(pipe)
    finally:
        for descriptor in (controller, terminal, reading, pipe):
            os.close(descriptor)


def test_the_real_proc_is_understood() -> None:
    """A child named like a launcher, on a terminal, whose child's output is a pipe."""
    controller, terminal = pty.openpty()
    child = "from fedcomloc_mpi.metrics.terminal import on_terminal; print(on_terminal(1), on_terminal(2))"
    launcher = (
        "import subprocess, sys\n"
        "open('/proc/self/comm', 'w').write('mpirun')\n"
        f"done = subprocess.run([sys.executable, '-c', {child!r}], capture_output=True, text=True)\n"
        "print(done.stdout, done.stderr)\n"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", launcher], stdout=subprocess.PIPE, stderr=terminal, text=True, check=True
        )
    finally:
        os.close(controller)
        os.close(terminal)
    assert done.stdout.split() == ["False", "True"]
