"""The relay's order and delay, on pipes in place of devices."""

import os
import time
from collections.abc import Iterator

import pytest

from bench.delay import Direction

DELAY = 0.05


@pytest.fixture
def pipes() -> Iterator[tuple[int, int, int, int]]:
    ends = (*os.pipe(), *os.pipe())
    for end in ends:
        os.set_blocking(end, False)
    yield ends
    for end in ends:
        os.close(end)


def test_frames_arrive_in_order_and_not_before_their_time(pipes: tuple[int, int, int, int]) -> None:
    source, into_source, out_of_sink, sink = pipes
    direction = Direction(source, sink, DELAY)
    begin = time.monotonic()
    for frame in (b"first", b"second"):
        os.write(into_source, frame)
        direction.take()
    direction.give()
    if time.monotonic() < begin + DELAY:
        with pytest.raises(BlockingIOError):
            os.read(out_of_sink, 100)
    received = b""
    while not received.endswith(b"second"):
        direction.give()
        try:
            received += os.read(out_of_sink, 100)
        except BlockingIOError:
            continue
    assert time.monotonic() >= begin + DELAY
    assert received == b"firstsecond"
