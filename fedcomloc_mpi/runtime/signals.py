"""Signals end a job at the end of a round: the first is remembered, a second one ends the process at once."""

import signal
from types import FrameType

HANDLED = (signal.SIGINT, signal.SIGTERM)


class SignalWatch:
    """Remembers the first SIGINT or SIGTERM. Use as a context manager in the main thread."""

    def __init__(self) -> None:
        self.received = 0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "SignalWatch":
        for number in HANDLED:
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise SystemExit(128 + number)
        self.received = number
