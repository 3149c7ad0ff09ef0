import os
import signal

import pytest

from fedcomloc_mpi.runtime.signals import SignalWatch


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_remembered(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with SignalWatch() as watch:
        assert watch.received == 0
        os.kill(os.getpid(), number)
        assert watch.received == number
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_signal_ends_the_process_at_once() -> None:
    with SignalWatch() as watch:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit) as leaving:
            os.kill(os.getpid(), signal.SIGINT)
        assert leaving.value.code == 128 + signal.SIGINT
        assert watch.received == signal.SIGTERM


def test_handlers_are_restored_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), SignalWatch():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before
