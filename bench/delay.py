"""Delay of Ethernet frames in user space: pairs of TAP devices, each frame handed on after a fixed time.

    ip netns exec SWITCH python bench/delay.py NEAR:FAR:SECONDS...

makes the devices NEAR and FAR in the namespace that it runs in, writes a line when they are there, and passes frames
between the two until it is ended. A device may then be moved to another namespace. Frames keep their order.
"""

import contextlib
import fcntl
import os
import select
import struct
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

_SET_INTERFACE, _TAP_WITHOUT_HEADER = 0x400454CA, 0x1002  # TUNSETIFF, IFF_TAP | IFF_NO_PI (linux/if_tun.h)
_LARGEST_FRAME = 65536


@dataclass
class Direction:
    """Frames on their way from one device to another, with the time at which each is due."""

    source: int
    sink: int
    delay: float
    frames: deque[tuple[float, bytes]] = field(default_factory=deque)

    def take(self) -> None:
        """Read what has arrived."""
        while True:
            try:
                frame = os.read(self.source, _LARGEST_FRAME)
            except BlockingIOError:
                return
            self.frames.append((time.monotonic() + self.delay, frame))

    def give(self) -> None:
        """Hand on what is due."""
        now = time.monotonic()
        while self.frames and self.frames[0][0] <= now:
            with contextlib.suppress(OSError):  # a device that is not up yet: a network loses such frames
                os.write(self.sink, self.frames[0][1])
            self.frames.popleft()


def open_device(name: str) -> int:
    """Return the descriptor of a new TAP device."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _SET_INTERFACE, struct.pack("16sH22x", name.encode(), _TAP_WITHOUT_HEADER))
    return device


def relay(directions: Sequence[Direction]) -> None:
    """Pass frames for ever."""
    of_source = {direction.source: direction for direction in directions}
    while True:
        due = [direction.frames[0][0] for direction in directions if direction.frames]
        wait = max(0.0, min(due) - time.monotonic()) if due else None
        ready, _, _ = select.select(
            list(of_source), [], [], wait
        )  # to a microsecond, where epoll has milliseconds
        for source in ready:
            of_source[source].take()
        for direction in directions:
            direction.give()


def main() -> None:
    """Make the devices and pass frames."""
    directions = []
    for pair in sys.argv[1:]:
        near, far, delay = pair.split(":")
        first, second = open_device(near), open_device(far)
        directions.append(Direction(first, second, float(delay)))
        directions.append(Direction(second, first, float(delay)))
    print("ready", flush=True)
    relay(directions)


if __name__ == "__main__":
    main()
