import os
import signal
import subprocess
import sys
import time

from fedcomloc_mpi.transport.process import condition


def wait_for(process: int, expected: str | None) -> None:
    end = time.monotonic() + 10
    while condition(process) != expected and time.monotonic() < end:
        time.sleep(0.01)
    assert condition(process) == expected


def test_running_stopped_dead_and_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert condition(child.pid) is None
        os.kill(child.pid, signal.SIGSTOP)
        wait_for(child.pid, "stopped by a signal")
        os.kill(child.pid, signal.SIGKILL)
        wait_for(child.pid, "dead")
    finally:
        child.kill()
        child.communicate()
    assert condition(child.pid) == "ended"


def test_where_it_cannot_be_told(tmp_path) -> None:
    assert condition(os.getpid(), tmp_path / "no proc here") is None
    folder = tmp_path / "7"
    folder.mkdir()
    (folder / "stat").write_text("7 (a name) with brackets) T 1 2 3")
    assert condition(7, tmp_path) == "stopped by a signal"
    (folder / "stat").write_text("")
    assert condition(7, tmp_path) is None
