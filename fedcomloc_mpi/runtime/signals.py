"""Signals end a job at the end of a round: the first is remembered, asking again ends the process at once."""

import signal
import time
from collections.abc import Callable
from types import FrameType

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
# A launcher's copy of a signal that the terminal has sent too is not a second request.
_SAME_REQUEST_SECONDS = 1.0


class SignalWatch:
    """Remembers the first SIGINT, SIGTERM or SIGUSR1. Use as a context manager in the main thread.

    The same signal again, a second later or more, raises SystemExit. Another one changes nothing: schedulers send
    SIGUSR1 first and SIGTERM when the time is nearly up.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.received = 0
        self._since = 0.0
        self._clock = clock
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "SignalWatch":
        for number in HANDLED:
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.received:
            self.received, self._since = number, self._clock()
        elif number == self.received and self._clock() - self._since >= _SAME_REQUEST_SECONDS:
            raise SystemExit(128 + number)
