"""What a run shows while it runs: a bar on a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self, TextIO

from fedcomloc_mpi.metrics.records import RoundRecord
from fedcomloc_mpi.metrics.table import human_bytes
from fedcomloc_mpi.metrics.terminal import on_terminal

if TYPE_CHECKING:
    import tqdm

LINE_SECONDS = 30.0
_BAR_COLUMNS = 100


class Progress:
    """Shows rounds as they end, and what else a run has to say; for rank 0 only.

    A bar goes to stderr if that is a terminal. A line per evaluation, and at least one round's line every 30
    s, goes to stdout unless the bar already stands on its terminal.
    """

    def __init__(
        self,
        rounds: int,
        first_round: int = 1,
        *,
        bar: bool | None = None,
        lines: bool | None = None,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`rounds`: the last round's number; `first_round`: above 1 in a resumed run.

        bar, lines: None decides by where the output goes. out: for the lines, default as the class says.
        clock: for tests.
        """
        self._rounds = rounds
        self._before = first_round - 1
        self._clock = clock
        self._started = self._line_at = clock()
        show_bar = on_terminal(2) if bar is None else bar
        self._lines = not (show_bar and on_terminal(1)) if lines is None else lines
        self._bar = _bar(rounds, self._before) if show_bar else None
        # mpirun forwards stdout and stderr by two pipes: on one terminal, what follows the bar must follow it
        # in the bar's own pipe.
        self._out = out or (sys.stdout if self._lines else sys.stderr)
        self._last_evaluation = ""

    def say(self, text: str) -> None:
        """Print `text` on lines of its own, above the bar if there is one: to stdout, or where the bar
        goes."""
        if self._bar is not None:
            self._bar.clear()
        print(text, file=self._out, flush=True)
        if self._bar is not None:
            self._bar.refresh()

    def update(self, record: RoundRecord) -> None:
        """Show that a round has ended."""
        evaluation = _evaluation(record)
        if self._bar is not None:
            self._last_evaluation = evaluation or self._last_evaluation
            self._bar.set_postfix_str(self._last_evaluation, refresh=False)
            self._bar.update()
        now = self._clock()
        if self._lines and (evaluation or now - self._line_at >= LINE_SECONDS):
            self._line_at = now
            self.say(self._line(record, evaluation, now))

    def close(self) -> None:
        """End the bar; may be called again."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _line(self, record: RoundRecord, evaluation: str, now: float) -> str:
        elapsed = now - self._started
        left = elapsed / (record.round - self._before) * (self._rounds - record.round)
        loss = "-" if record.train_loss is None else f"{record.train_loss:.4f}"
        figures = [
            f"round {record.round:>{len(str(self._rounds))}}/{self._rounds}",
            f"loss {loss}",
            evaluation,
            f"up {human_bytes(record.uplink.payload_bytes)}",
            f"down {human_bytes(record.downlink.payload_bytes)}",
            f"{record.seconds:.2f} s",
            f"{_clock_time(left)} left",
        ]
        return "  ".join(figure for figure in figures if figure)


def _bar(rounds: int, done: int) -> "tqdm.tqdm[NoReturn]":
    import tqdm

    # Through mpirun's pipe tqdm cannot ask for the width of the terminal.
    piped = not sys.stderr.isatty()
    columns = _BAR_COLUMNS if piped else None
    return tqdm.tqdm(total=rounds, initial=done, unit="round", ncols=columns, dynamic_ncols=not piped)


def _evaluation(record: RoundRecord) -> str:
    if record.test_accuracy is None:
        return ""
    if record.test_accuracy_compressed is None:
        return f"accuracy {record.test_accuracy:.4f}"
    return f"accuracy {record.test_accuracy:.4f} (compressed {record.test_accuracy_compressed:.4f})"


def _clock_time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
