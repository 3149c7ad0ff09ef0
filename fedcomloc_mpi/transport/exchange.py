"""The exchange of a round between the server and the client ranks: what the runtime asks of it.

Up: every client rank sends a report of known size (what it was told to run is known on both sides) that holds the
lengths of its messages, then the messages themselves, packed. Down: a header of known size with a command and the
lengths, then the packed vectors. Both sides count the bytes that MPI delivers on their own: B bytes to R - 1 ranks are
(R - 1) B, what rank 0 hands to itself is nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from mpi4py import MPI

from fedcomloc_mpi.transport.byte_meter import ByteMeter
from fedcomloc_mpi.transport.report import RankReport
from fedcomloc_mpi.transport.watchdog import Watchdog
from fedcomloc_mpi.transport.world import CHUNK_BYTES, World

REPORT_TAG, MESSAGES_TAG, HEADER_TAG, BROADCAST_TAG = 1, 2, 3, 4
USUAL_SPEED = 1024


class Command(IntEnum):
    """What the server tells the clients with every broadcast."""

    CONTINUE = 0
    FINISH = 1  # commit this round, then stop
    ABANDON = 2  # nothing follows the header: drop this round, stop


@dataclass(frozen=True)
class Arrival:
    """What one client rank sent: its report, and its encoded vectors, uint8 views [clients][vectors].

    The views are overwritten by the next round.
    """

    rank: int
    report: RankReport
    messages: list[list[np.ndarray]]


@dataclass(frozen=True)
class Downlink:
    """What the server sends to all.

    vectors: encoded, uint8; none with ABANDON. speeds: int64 [ranks], how fast each rank computes, relative to
    USUAL_SPEED: what the next round's clients are spread by.
    """

    command: Command
    vectors: Sequence[np.ndarray]
    speeds: np.ndarray


class Exchange(ABC):
    """One rank's end of the exchange. Buffers grow to the largest round seen and are reused."""

    def __init__(
        self,
        world: World,
        watchdog: Watchdog,
        parts: int,
        cohort: int,
        uplink_vectors: int,
        downlink_vectors: int,
        largest_message: int,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        """All ranks give the same numbers.

        parts: durations in a report; cohort: clients of a round; vectors: of a client's upload, of a broadcast;
        largest_message: bytes that no encoded vector exceeds; chunk_bytes: the most that one MPI call moves.
        """
        self.meter = ByteMeter()
        self._world, self._watchdog = world, watchdog
        self._parts, self._cohort = parts, cohort
        self._uplink_vectors, self._downlink_vectors = uplink_vectors, downlink_vectors
        self._largest_message = largest_message
        self._chunk_bytes = chunk_bytes
        self._prepare()

    def _prepare(self) -> None:
        """Make the buffers for the world as it is."""
        self._header = np.zeros(1 + self._downlink_vectors + self._world.size, dtype="<i8")
        self._messages = np.empty(0, dtype=np.uint8)
        self._broadcast = np.empty(0, dtype=np.uint8)

    def restart(self) -> None:
        """Go on in a world that has lost ranks; all ranks call this. What was under way is forgotten."""
        self.meter.restart()
        self._prepare()

    @abstractmethod
    def send_uplink(self, report: RankReport, messages: Sequence[np.ndarray]) -> None:
        """Send a client rank's report and its encoded vectors (uint8 arrays, in the order of `report.lengths`)."""

    @abstractmethod
    def arrivals(self, clients: Sequence[int], receiving: AbstractContextManager[None]) -> Iterator[Arrival]:
        """Yield, on the server, what every client rank has sent in this round, as it comes; must be used up.

        clients: [ranks], how many clients each rank runs (the server's is 0). receiving: entered while messages are
        under way, left while nothing is known to come.
        """

    @abstractmethod
    def send_downlink(self, downlink: Downlink) -> None:
        """Send a broadcast from the server to all client ranks."""

    @abstractmethod
    def receive_downlink(self) -> Downlink:
        """Return, on a client rank, the server's next broadcast; its views are overwritten by the one after."""

    def _check_messages(self, report: RankReport, messages: Sequence[np.ndarray]) -> None:
        """Raise ValueError unless the messages are those that the report announces."""
        announced = report.lengths[report.lengths > 0].tolist()
        sent = [message.size for message in messages if message.size]
        if sent != announced:
            raise ValueError(f"the report announces messages of {announced} bytes, but they have {sent}")
        if int(report.lengths.max(initial=0)) > self._largest_message:
            raise ValueError(f"a message is longer than {self._largest_message} bytes")

    def _pack_messages(self, messages: Sequence[np.ndarray]) -> np.ndarray:
        """Return the messages one after the other, uint8, in a buffer that the next round overwrites."""
        if len(messages) == 1:
            return messages[0]
        total = sum(message.size for message in messages)
        self._messages = at_least(self._messages, total)
        end = 0
        for message in messages:
            self._messages[end : end + message.size] = message
            end += message.size
        return self._messages[:total]

    def _pack_header(self, downlink: Downlink) -> np.ndarray:
        self._header[:] = 0
        self._header[0] = downlink.command
        for position, vector in enumerate(downlink.vectors, start=1):
            self._header[position] = vector.size
        self._header[1 + self._downlink_vectors :] = downlink.speeds
        return self._header

    def _unpack_header(self) -> tuple[Command, list[int], np.ndarray]:
        command, *words = self._header.tolist()
        lengths, speeds = words[: self._downlink_vectors], words[self._downlink_vectors :]
        if min(lengths) < 0:
            raise ValueError("the server's header holds a negative length")
        return Command(command), lengths, np.array(speeds, dtype=np.int64)

    def _broadcast_buffer(self, size: int) -> np.ndarray:
        self._broadcast = at_least(self._broadcast, size)
        return self._broadcast[:size]


def at_least(buffer: np.ndarray, size: int) -> np.ndarray:
    """Return `buffer`, or a larger one when it has less than `size` bytes."""
    return buffer if buffer.size >= size else np.empty(max(size, 2 * buffer.size), dtype=np.uint8)


def joined(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Return one array with the vectors one after the other; a single one is not copied."""
    return vectors[0] if len(vectors) == 1 else np.concatenate(vectors)


def split(buffer: np.ndarray, lengths: Sequence[int]) -> list[np.ndarray]:
    """Return views of `buffer`, one after the other, of these lengths."""
    views, start = [], 0
    for length in lengths:
        views.append(buffer[start : start + length])
        start += length
    return views


def split_messages(buffer: np.ndarray, report: RankReport) -> list[list[np.ndarray]]:
    """Return views of a rank's packed messages, [clients][vectors]."""
    vectors = report.lengths.shape[1]
    views = split(buffer, report.lengths.reshape(-1).tolist())
    return [views[start : start + vectors] for start in range(0, len(views), vectors)]


def chunks(buffer: np.ndarray, limit: int) -> list[np.ndarray]:
    """Return `buffer` as views of at most `limit` bytes; none if it is empty."""
    return [buffer[start : start + limit] for start in range(0, buffer.size, limit)]


def start_send(comm: MPI.Comm, buffer: np.ndarray, dest: int, tag: int, limit: int) -> list[MPI.Request]:
    """Start sending `buffer` in chunks of at most `limit` bytes (MPI_Isend)."""
    return [comm.Isend(chunk, dest=dest, tag=tag) for chunk in chunks(buffer, limit)]


def start_receive(comm: MPI.Comm, buffer: np.ndarray, source: int, tag: int, limit: int) -> list[MPI.Request]:
    """Start receiving what `start_send` sends with the same size and limit (MPI_Irecv)."""
    return [comm.Irecv(chunk, source=source, tag=tag) for chunk in chunks(buffer, limit)]
