"""The exchange of a round by MPI collectives: reports and messages up, one broadcast down.

Up: every client rank sends a report of known size (what it was told to run is known on both sides) that holds the
lengths of its messages, then the messages themselves, packed (two MPI_Igatherv). Down: a header of known size with a
command and the lengths, then the packed vectors (two MPI_Ibcast). Both sides count the bytes that MPI delivers on
their own: a broadcast of B bytes to R - 1 ranks is (R - 1) B, what rank 0 hands to itself is nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from mpi4py import MPI

from fedcomloc_mpi.transport.wait import wait_all
from fedcomloc_mpi.transport.world import SERVER, World


class Command(IntEnum):
    """What the server tells the clients with every broadcast."""

    CONTINUE = 0
    FINISH = 1  # commit this round, then stop
    ABANDON = 2  # nothing follows the header: drop this round, stop


@dataclass
class ByteMeter:
    """Bytes that MPI delivered since the start, counted on this rank's own side, by direction."""

    uplink: int = 0
    downlink: int = 0
    _taken: tuple[int, int] = (0, 0)

    def take(self) -> tuple[int, int]:
        """Return (uplink, downlink) bytes since the last call."""
        taken, self._taken = self._taken, (self.uplink, self.downlink)
        return self.uplink - taken[0], self.downlink - taken[1]

    def check(self, world: World) -> None:
        """Raise RuntimeError on every rank unless what was sent in a direction equals what was received.

        All ranks must call this.
        """
        mine = np.array([self.uplink, self.downlink], dtype=np.int64) * (-1 if world.is_server else 1)
        difference = np.empty(2, dtype=np.int64)
        wait_all([world.comm.Iallreduce(mine, difference, op=MPI.SUM)])
        for direction, bytes_off in zip(("uplink", "downlink"), difference.tolist(), strict=True):
            if bytes_off:
                raise RuntimeError(
                    f"{direction}: clients and server disagree by {bytes_off} bytes on what travelled"
                )


@dataclass(frozen=True)
class RankReport:
    """What one client rank tells the server beside its messages.

    signal: number of a signal that the rank has received, 0 for none. seconds: float64 [parts], the rank's own
    durations since its last report. losses: float64 [clients], the mean minibatch loss of each of its clients, NaN
    when that diverged. lengths: int64 [clients, vectors], bytes of each encoded vector; a client whose model is not
    finite sends none, which shows as length 0.
    """

    signal: int
    seconds: np.ndarray
    losses: np.ndarray
    lengths: np.ndarray

    @staticmethod
    def size(clients: int, parts: int, vectors: int) -> int:
        """Return the bytes of a packed report."""
        return 8 * (1 + parts + clients * (1 + vectors))

    def pack(self) -> np.ndarray:
        """Return the report as uint8, all fields as 8-byte little-endian words in the order of the attributes."""
        return np.concatenate(
            [
                np.array([self.signal], dtype="<i8").view(np.uint8),
                self.seconds.astype("<f8").view(np.uint8),
                self.losses.astype("<f8").view(np.uint8),
                np.ascontiguousarray(self.lengths, dtype="<i8").reshape(-1).view(np.uint8),
            ]
        )

    @staticmethod
    def unpack(data: np.ndarray, clients: int, parts: int, vectors: int) -> "RankReport":
        """Return the report that `data` (uint8 [size(...)]) holds. Raises ValueError on a negative length."""
        words = data[: 8 * (1 + parts + clients)].view("<f8")
        lengths = data[8 * (1 + parts + clients) :].view("<i8").reshape(clients, vectors)
        if (lengths < 0).any():
            raise ValueError("a rank's report holds a negative message length")
        signal = int(data[:8].view("<i8")[0])
        return RankReport(signal, words[1 : 1 + parts].copy(), words[1 + parts :].copy(), lengths.copy())


class CollectiveExchange:
    """One rank's end of the exchange. Buffers grow to the largest round seen and are reused."""

    def __init__(self, world: World, parts: int, uplink_vectors: int, downlink_vectors: int) -> None:
        self.meter = ByteMeter()
        self._world = world
        self._parts = parts
        self._uplink_vectors = uplink_vectors
        self._header = np.zeros(1 + downlink_vectors, dtype="<i8")
        self._reports = np.empty(0, dtype=np.uint8)
        self._messages = np.empty(0, dtype=np.uint8)
        self._broadcast = np.empty(0, dtype=np.uint8)

    def send_uplink(self, report: RankReport, messages: Sequence[np.ndarray]) -> None:
        """Send a client rank's report and its encoded vectors (uint8 arrays, in the order of `report.lengths`)."""
        packed = report.pack()
        total = int(report.lengths.sum())
        self._messages = _at_least(self._messages, total)
        end = 0
        for message in messages:
            self._messages[end : end + message.size] = message
            end += message.size
        if end != total:
            raise ValueError(f"the report announces {total} bytes of messages, but they have {end}")
        comm = self._world.comm
        wait_all([comm.Igatherv([packed, MPI.BYTE], None, root=SERVER)])
        wait_all([comm.Igatherv([self._messages[:total], MPI.BYTE], None, root=SERVER)])
        self.meter.uplink += packed.size + total

    def receive_reports(
        self, clients: Sequence[int], between: Callable[[], None] | None = None
    ) -> list[RankReport]:
        """Return every client rank's report; `clients` [size] says how many clients each rank runs (the server's is 0).

        `between` is called between tests for arrival.
        """
        sizes = [0] + [RankReport.size(count, self._parts, self._uplink_vectors) for count in clients[1:]]
        self._reports = _at_least(self._reports, sum(sizes))
        self._gather(self._reports, sizes, between)
        reports, start = [], 0
        for count, size in zip(clients[1:], sizes[1:], strict=True):
            data = self._reports[start : start + size]
            reports.append(RankReport.unpack(data, count, self._parts, self._uplink_vectors))
            start += size
        return reports

    def receive_messages(self, reports: Sequence[RankReport]) -> list[list[np.ndarray]]:
        """Return the encoded vectors, in the order of ranks and of each rank's clients: uint8 views [clients][vectors].

        The views are overwritten by the next round.
        """
        sizes = [0] + [int(report.lengths.sum()) for report in reports]
        self._messages = _at_least(self._messages, sum(sizes))
        self._gather(self._messages, sizes, None)
        messages, start = [], 0
        for report in reports:
            for lengths in report.lengths:
                vectors = []
                for length in lengths:
                    vectors.append(self._messages[start : start + int(length)])
                    start += int(length)
                messages.append(vectors)
        return messages

    def send_downlink(self, command: Command, vectors: Sequence[np.ndarray]) -> None:
        """Broadcast a command and the encoded vectors (uint8 arrays; none with ABANDON)."""
        self._header[:] = 0
        self._header[0] = command
        for position, vector in enumerate(vectors, start=1):
            self._header[position] = vector.size
        comm, receivers = self._world.comm, self._world.size - 1
        wait_all([comm.Ibcast(self._header, root=SERVER)])
        self.meter.downlink += receivers * self._header.nbytes
        if not vectors:
            return
        payload = vectors[0] if len(vectors) == 1 else np.concatenate(vectors)
        wait_all([comm.Ibcast(payload, root=SERVER)])
        self.meter.downlink += receivers * payload.size

    def receive_downlink(self, between: Callable[[], None] | None = None) -> tuple[Command, list[np.ndarray]]:
        """Return the server's command and the encoded vectors: uint8 views, overwritten by the next round."""
        comm = self._world.comm
        wait_all([comm.Ibcast(self._header, root=SERVER)], between)
        self.meter.downlink += self._header.nbytes
        command, lengths = Command(int(self._header[0])), self._header[1:].tolist()
        if command is Command.ABANDON:
            return command, []
        if min(lengths) < 0:
            raise ValueError("the server's header holds a negative length")
        total = sum(lengths)
        self._broadcast = _at_least(self._broadcast, total)
        wait_all([comm.Ibcast(self._broadcast[:total], root=SERVER)], between)
        self.meter.downlink += total
        vectors, start = [], 0
        for length in lengths:
            vectors.append(self._broadcast[start : start + length])
            start += length
        return command, vectors

    def _gather(self, into: np.ndarray, sizes: Sequence[int], between: Callable[[], None] | None) -> None:
        counts = np.array(sizes, dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        nothing = np.empty(0, dtype=np.uint8)
        request = self._world.comm.Igatherv(
            [nothing, MPI.BYTE], [into, counts, starts, MPI.BYTE], root=SERVER
        )
        wait_all([request], between)
        self.meter.uplink += int(counts.sum())


def _at_least(buffer: np.ndarray, size: int) -> np.ndarray:
    """Return `buffer`, or a larger one when it has less than `size` bytes."""
    return buffer if buffer.size >= size else np.empty(max(size, 2 * buffer.size), dtype=np.uint8)
