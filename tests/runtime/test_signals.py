import os
import signal

import pytest

from fedcomloc_mpi.runtime.signals import SignalWatch


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_the_first_signal_is_remembered(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    with SignalWatch() as watch:
        assert watch.received == 0
        os.kill(os.getpid(), number)
        assert watch.received == number
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before


@pytest.mark.parametrize(
    ("first", "second", "seconds", "ends"),
    [
        ("SIGTERM", "SIGINT", 0.5, True),
        ("SIGINT", "SIGINT", 0.5, True),
        ("SIGUSR1", "SIGINT", 0.5, True),
        ("SIGINT", "SIGINT", 0.1, False),  # the terminal's, and the launcher's copy of it
        ("SIGUSR1", "SIGTERM", 60.0, False),  # the scheduler's two steps
        ("SIGTERM", "SIGUSR1", 60.0, False),
    ],
)
def test_a_second_signal_ends_the_process_at_once(
    first: str, second: str, seconds: float, ends: bool
) -> None:
    now = 0.0
    with SignalWatch(lambda: now) as watch:
        os.kill(os.getpid(), signal.Signals[first])
        now = seconds
        if ends:
            with pytest.raises(SystemExit) as leaving:
                os.kill(os.getpid(), signal.Signals[second])
            assert leaving.value.code == 128 + signal.Signals[second]
        else:
            os.kill(os.getpid(), signal.Signals[second])
        assert watch.received == signal.Signals[first]


def test_handlers_are_restored_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), SignalWatch():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before
