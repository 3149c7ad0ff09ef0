"""Where the time of a round goes, on one rank's own monotonic clock."""

import time
from collections.abc import Callable, Iterable
from types import TracebackType

OTHER = "other"
SERVER_PARTS = ("encode", "broadcast", "wait", "receive", "decode", "aggregate", "evaluate", "checkpoint")
CLIENT_PARTS = ("compute", "select", "encode", "wait", "decode", "update")

# Durations are whole multiples of 2^-30 s, so that float64 sums of them are exact, in any order, up to 97
# days.
_TICK_SECONDS = 2.0**-30
_TICKS_PER_NANOSECOND = 2.0**30 / 1e9


class Stopwatch:
    """Splits time into named parts that never overlap and leave nothing out.

    `with watch.part("encode"):` charges the block to "encode"; a part inside another pauses the outer one;
    time in no part is charged to "other". `lap()` ends the lap and starts the next. Not for use by several
    threads.
    """

    def __init__(self, parts: Iterable[str], clock: Callable[[], int] = time.perf_counter_ns) -> None:
        """Start the first lap. `parts` are the names besides "other"; `clock` is monotonic, in
        nanoseconds."""
        names = tuple(parts)
        if OTHER in names or len(set(names)) != len(names):
            raise ValueError(f"part names must differ from each other and from '{OTHER}': {names}")
        self._names = (*names, OTHER)
        self._parts = {name: _Part(self, index) for index, name in enumerate(names)}
        self._elapsed = [0] * len(self._names)
        self._running = len(names)
        self._paused: list[int] = []
        self._clock = clock
        self._since = clock()

    def part(self, name: str) -> "_Part":
        """Return the context manager of part `name`; KeyError if the stopwatch has no such part."""
        return self._parts[name]

    def lap(self) -> dict[str, float]:
        """Return the seconds of every part since the last lap, "other" last, and start the next lap.

        The sum of the values is the length of the lap. A part that is running goes on in the next lap.
        """
        self._charge()
        seconds = {
            name: round(elapsed * _TICKS_PER_NANOSECOND) * _TICK_SECONDS
            for name, elapsed in zip(self._names, self._elapsed, strict=True)
        }
        self._elapsed = [0] * len(self._names)
        return seconds

    def _charge(self) -> None:
        now = self._clock()
        self._elapsed[self._running] += now - self._since
        self._since = now

    def _enter(self, index: int) -> None:
        self._charge()
        self._paused.append(self._running)
        self._running = index

    def _leave(self) -> None:
        self._charge()
        self._running = self._paused.pop()


class _Part:
    """One per name, made once: entering it allocates nothing, and it may be entered inside itself."""

    __slots__ = ("_index", "_watch")

    def __init__(self, watch: Stopwatch, index: int) -> None:
        self._watch = watch
        self._index = index

    def __enter__(self) -> None:
        self._watch._enter(self._index)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch._leave()
