"""Signals end a job at the end of a round: the first is remembered, asking again ends the process at once."""

import signal
import time
from collections.abc import Callable
from types import FrameType

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
# A launcher's copy of a signal that the terminal has sent too is not a second request.
_SAME_REQUEST_SECONDS = 0.25


class SignalWatch:
    """Remembers the first SIGINT, SIGTERM or SIGUSR1. Use as a context manager in the main thread.

    Another SIGINT or SIGTERM after a moment raises SystemExit; but not SIGTERM after SIGUSR1, for schedulers
    send the one before the time is up and the other when it nearly is.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.received = 0
        self._since = 0.0
        self._clock = clock
        self._previous: dict[int, object] = {}

    def remember(self, number: int) -> None:
        """Handle one signal from now on, before the others and for good."""
        signal.signal(number, self._on_signal)

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
            return
        planned = self.received == signal.SIGUSR1 and number == signal.SIGTERM
        if self._clock() - self._since >= _SAME_REQUEST_SECONDS and number != signal.SIGUSR1 and not planned:
            raise SystemExit(128 + number)
