"""The exchange by messages between the server and each client rank: MPI_Isend and MPI_Irecv.

Nothing is relayed, what a link carries is what its rank sends and receives, and the server has each rank's messages as
soon as they come, while other ranks still compute.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from mpi4py import MPI

from fedcomloc_mpi.transport.exchange import (
    BROADCAST_TAG,
    HEADER_TAG,
    MESSAGES_TAG,
    REPORT_TAG,
    Arrival,
    Command,
    Downlink,
    Exchange,
    at_least,
    joined,
    split,
    split_messages,
    start_receive,
    start_send,
)
from fedcomloc_mpi.transport.report import RankReport
from fedcomloc_mpi.transport.wait import Patience, Usual
from fedcomloc_mpi.transport.watchdog import Watchdog
from fedcomloc_mpi.transport.world import SERVER, World

# A rank's messages travel in one piece, unless they have so many bytes: then copying them costs more than sending them
# one by one.
_APART_FROM = 1 << 20


class PointToPointExchange(Exchange):
    """See `Exchange`. Ranks arrive in any order."""

    def __init__(self, world: World, watchdog: Watchdog, *numbers: int, **named: int) -> None:
        super().__init__(world, watchdog, *numbers, **named)
        # Sending and receiving take different times, and so do a round's first report and the messages behind one.
        self._usual: dict[str, Usual] = defaultdict(Usual)

    def _prepare(self) -> None:
        super()._prepare()
        self._buffers = [np.empty(0, dtype=np.uint8)] * self._world.size  # messages of each rank

    def send_uplink(self, report: RankReport, messages: Sequence[np.ndarray]) -> None:
        header, comm = report.pack(), self._world.comm
        self._check_messages(report, messages)
        pieces = messages if len(_pieces(report)) > 1 else [self._pack_messages(messages)]
        sends = _Outstanding(self._watchdog, self._usual["send"])
        sends.add(SERVER, [comm.Isend(header, dest=SERVER, tag=REPORT_TAG)])
        for piece in pieces:
            sends.add(SERVER, start_send(comm, piece, SERVER, MESSAGES_TAG, self._chunk_bytes))
        sends.wait()
        self.meter.uplink += header.size + sum(piece.size for piece in pieces)

    def arrivals(self, clients: Sequence[int], receiving: AbstractContextManager[None]) -> Iterator[Arrival]:
        comm, ranks = self._world.comm, range(1, self._world.size)
        sizes = [RankReport.size(count, self._parts, self._uplink_vectors) for count in clients]
        headers = [np.empty(size, dtype=np.uint8) for size in sizes]
        receives = _Outstanding(self._watchdog, self._usual["first"], self._watchdog.local_steps)
        begun = time.monotonic()
        for rank in ranks:
            receives.add(rank, [comm.Irecv(headers[rank], source=rank, tag=REPORT_TAG)])
        reports: dict[int, RankReport] = {}  # of ranks whose messages are under way
        while receives.ranks:
            with receiving if reports else nullcontext():
                finished = receives.wait_for_some()
            for rank in finished:
                if rank not in reports:
                    reports[rank] = report = RankReport.unpack(
                        headers[rank], clients[rank], self._parts, self._uplink_vectors
                    )
                    total = int(report.lengths.sum())
                    self._buffers[rank] = at_least(self._buffers[rank], total)
                    buffer = self._buffers[rank][:total]
                    self.meter.uplink += headers[rank].size + total
                    if total:
                        for piece in split(buffer, _pieces(report)):
                            receives.add(
                                rank, start_receive(comm, piece, rank, MESSAGES_TAG, self._chunk_bytes)
                            )
                        continue
                report = reports.pop(rank)
                yield Arrival(rank, report, split_messages(self._buffers[rank], report))
            # Messages that are announced are on their way; the next report comes when a rank is done, like the first.
            receives.usual, receives.work = (self._usual["messages"], 1) if reports else (None, 1)
            receives.begun = None if reports else begun

    def send_downlink(self, downlink: Downlink) -> None:
        comm, header = self._world.comm, self._pack_header(downlink)
        payload = joined(downlink.vectors) if downlink.vectors else np.empty(0, dtype=np.uint8)
        sends = _Outstanding(self._watchdog, self._usual["send"])
        for rank in range(1, self._world.size):
            sends.add(rank, [comm.Isend(header, dest=rank, tag=HEADER_TAG)])
            sends.add(rank, start_send(comm, payload, rank, BROADCAST_TAG, self._chunk_bytes))
        sends.wait()
        self.meter.downlink += (self._world.size - 1) * (header.nbytes + payload.size)

    def receive_downlink(self) -> Downlink:
        comm = self._world.comm
        receives = _Outstanding(self._watchdog, self._usual["receive"], self._watchdog.local_steps)
        receives.add(SERVER, [comm.Irecv(self._header, source=SERVER, tag=HEADER_TAG)])
        receives.wait()
        self.meter.downlink += self._header.nbytes
        command, lengths, speeds = self._unpack_header()
        if command is Command.ABANDON:
            return Downlink(command, [], speeds)
        payload = self._broadcast_buffer(sum(lengths))
        receives.usual, receives.work = self._usual["broadcast"], 1  # it is on its way
        receives.add(SERVER, start_receive(comm, payload, SERVER, BROADCAST_TAG, self._chunk_bytes))
        receives.wait()
        self.meter.downlink += payload.size
        return Downlink(command, split(payload, lengths), speeds)


def _pieces(report: RankReport) -> list[int]:
    """Return the bytes that travel together of what a rank has announced, in order."""
    lengths: list[int] = report.lengths.reshape(-1).tolist()
    together = sum(lengths)
    return lengths if together >= _APART_FROM else [together]


class _Outstanding:
    """Requests by the rank at their other end."""

    def __init__(self, watchdog: Watchdog, usual: Usual | None, work: int = 1) -> None:
        """`usual`: what a wait for some of them usually takes, with so much `work`; begun: see `Patience`."""
        self.usual, self.work = usual, work
        self.begun: float | None = None
        self._watchdog = watchdog
        self._requests: list[MPI.Request] = []
        self._owners: list[int] = []

    @property
    def ranks(self) -> list[int]:
        """The ranks with requests that are not complete, ascending."""
        return sorted(set(self._owners))

    def add(self, rank: int, requests: Sequence[MPI.Request]) -> None:
        self._requests.extend(requests)
        self._owners.extend([rank] * len(requests))

    def wait(self) -> None:
        """Wait until all requests are complete."""
        while self._requests:
            self.wait_for_some()

    def wait_for_some(self) -> list[int]:
        """Wait until some rank's requests are all complete; return such ranks, in the order of completion."""
        patience = Patience(self._watchdog.wait(lambda: self.ranks), self.usual, self.work, begun=self.begun)
        while True:
            done = MPI.Request.Testsome(self._requests) or []
            if done:
                touched = [self._owners[index] for index in done]
                kept = sorted(set(range(len(self._requests))) - set(done))
                self._requests = [self._requests[index] for index in kept]
                self._owners = [self._owners[index] for index in kept]
                finished = [rank for rank in dict.fromkeys(touched) if rank not in self._owners]
                if finished:
                    patience.end()
                    return finished
            patience.sleep()
