import io
import sys

import pytest

from fedcomloc_mpi.metrics import Progress
from tests.metrics.records import record


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


def test_a_line_per_evaluation(clock: Clock, log: io.StringIO) -> None:
    with Progress(200, bar=False, lines=True, out=log, clock=clock) as progress:
        progress.say("start")
        for round in range(1, 21):
            clock.now += 1
            evaluated = round % 10 == 0
            progress.update(record(round, 0.5 if evaluated else None, 0.25 if round == 20 else None))
    assert log.getvalue().splitlines() == [
        "start",
        "round  10/200  loss 0.7500  accuracy 0.5000  up 900 B  down 1.3 KB  2.50 s  3:10 left",
        "round  20/200  loss 0.7500  accuracy 0.5000 (compressed 0.2500)  "
        "up 900 B  down 1.3 KB  2.50 s  3:00 left",
    ]


def test_long_rounds_show_a_sign_of_life(clock: Clock, log: io.StringIO) -> None:
    with Progress(1000, bar=False, lines=True, out=log, clock=clock) as progress:
        for round in range(1, 8):
            clock.now += 16
            progress.update(record(round))
    shown = [line.split()[1] for line in log.getvalue().splitlines()]
    assert shown == ["2/1000", "4/1000", "6/1000"]
    assert log.getvalue().splitlines()[0].endswith("4:26:08 left")


def test_time_left_of_a_resumed_run(clock: Clock, log: io.StringIO) -> None:
    with Progress(100, first_round=91, bar=False, lines=True, out=log, clock=clock) as progress:
        clock.now += 10
        progress.update(record(91, 0.5))
    assert log.getvalue().rstrip().endswith("1:30 left")


def test_a_loss_that_is_not_known(clock: Clock, log: io.StringIO) -> None:
    with Progress(1, bar=False, lines=True, out=log, clock=clock) as progress:
        progress.update(record(1, 0.5, train_loss=None))
    assert "loss -  accuracy" in log.getvalue()


def test_not_on_a_terminal_there_are_lines_and_no_bar(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress(1) as progress:
        progress.update(record(1, 0.5))
    out, err = capfd.readouterr()
    assert out.startswith("round 1/1")
    assert err == ""
    assert "\r" not in out


def test_a_bar_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, other = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", other)
    with Progress(3, bar=True, lines=False) as progress:
        progress.say("start")
        for round in range(1, 4):
            progress.update(record(round, 0.5 if round == 2 else None))
    progress.say("end")
    progress.close()
    assert other.getvalue() == "", "what follows the bar must not overtake it in another stream"
    shown = terminal.getvalue()
    assert "3/3" in shown
    assert "accuracy 0.5000" in shown
    assert "start\n" in shown
    assert shown.endswith("\nend\n")


def test_a_bar_beside_a_log(monkeypatch: pytest.MonkeyPatch, log: io.StringIO) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(2, bar=True, lines=True, out=log) as progress:
        progress.update(record(1, 0.5))
        progress.update(record(2))
    assert "2/2" in terminal.getvalue()
    assert log.getvalue().count("\n") == 1
    assert "\r" not in log.getvalue()
