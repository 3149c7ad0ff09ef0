"""The exchange by MPI collectives: two MPI_Igatherv up, two MPI_Ibcast down.

A library may relay a broadcast through other clients, in a tree. Messages of ranks that together might exceed one MPI
call travel rank by rank instead, and a large broadcast in pieces.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import numpy as np
from mpi4py import MPI

from fedcomloc_mpi.transport.exchange import (
    MESSAGES_TAG,
    Arrival,
    Command,
    Downlink,
    Exchange,
    at_least,
    chunks,
    joined,
    split,
    split_messages,
    start_receive,
    start_send,
)
from fedcomloc_mpi.transport.report import RankReport
from fedcomloc_mpi.transport.wait import Usual, wait_all
from fedcomloc_mpi.transport.watchdog import Watchdog
from fedcomloc_mpi.transport.world import SERVER, World


class CollectiveExchange(Exchange):
    """See `Exchange`. Reports of all ranks come first, then the messages of all."""

    def __init__(self, world: World, watchdog: Watchdog, *numbers: int, **named: int) -> None:
        super().__init__(world, watchdog, *numbers, **named)
        self._usual: dict[str, Usual] = defaultdict(Usual)  # by what is waited for

    def _prepare(self) -> None:
        super()._prepare()
        self._reports = np.empty(0, dtype=np.uint8)

    def send_uplink(self, report: RankReport, messages: Sequence[np.ndarray]) -> None:
        self._check_messages(report, messages)
        comm, header, packed = self._world.comm, report.pack(), self._pack_messages(messages)
        self._wait([comm.Igatherv([header, MPI.BYTE], None, root=SERVER)], "report sent")
        if self._one_gather():
            self._wait([comm.Igatherv([packed, MPI.BYTE], None, root=SERVER)], "messages sent")
        else:
            self._wait(start_send(comm, packed, SERVER, MESSAGES_TAG, self._chunk_bytes), "messages sent")
        self.meter.uplink += header.size + packed.size

    def arrivals(self, clients: Sequence[int], receiving: AbstractContextManager[None]) -> Iterator[Arrival]:
        reports = self._receive_reports(clients)
        sizes = [0] + [int(report.lengths.sum()) for report in reports]
        with receiving:
            self._messages = at_least(self._messages, sum(sizes))
            if self._one_gather():
                self._gather(self._messages, sizes, "messages")
            else:
                self._receive_each(self._messages, sizes)
        views = split(self._messages, sizes)
        for rank, report in enumerate(reports, start=1):
            yield Arrival(rank, report, split_messages(views[rank], report))

    def send_downlink(self, downlink: Downlink) -> None:
        comm, receivers = self._world.comm, self._world.size - 1
        header = self._pack_header(downlink)
        self._wait([comm.Ibcast(header, root=SERVER)], "header sent")
        self.meter.downlink += receivers * header.nbytes
        if downlink.vectors:
            payload = joined(downlink.vectors)
            for chunk in chunks(payload, self._chunk_bytes):
                wait_all([comm.Ibcast(chunk, root=SERVER)], self._watchdog.wait(), in_steps=True)
            self.meter.downlink += receivers * payload.size

    def receive_downlink(self) -> Downlink:
        comm = self._world.comm
        self._wait([comm.Ibcast(self._header, root=SERVER)], "round's end", self._watchdog.local_steps)
        self.meter.downlink += self._header.nbytes
        command, lengths, speeds = self._unpack_header()
        if command is Command.ABANDON:
            return Downlink(command, [], speeds)
        payload = self._broadcast_buffer(sum(lengths))
        for chunk in chunks(payload, self._chunk_bytes):
            wait_all([comm.Ibcast(chunk, root=SERVER)], self._watchdog.wait(), in_steps=True)
        self.meter.downlink += payload.size
        return Downlink(command, split(payload, lengths), speeds)

    def _receive_reports(self, clients: Sequence[int]) -> list[RankReport]:
        sizes = [0] + [RankReport.size(count, self._parts, self._uplink_vectors) for count in clients[1:]]
        self._reports = at_least(self._reports, sum(sizes))
        self._gather(self._reports, sizes, "reports", self._watchdog.local_steps)
        views = split(self._reports, sizes)
        return [
            RankReport.unpack(view, count, self._parts, self._uplink_vectors)
            for view, count in zip(views[1:], clients[1:], strict=True)
        ]

    def _one_gather(self) -> bool:
        """Whether what all ranks send is certain to fit one call; the same on every rank."""
        return self._cohort * self._uplink_vectors * self._largest_message <= self._chunk_bytes

    def _gather(self, into: np.ndarray, sizes: Sequence[int], what: str, work: int = 1) -> None:
        counts = np.array(sizes, dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        nothing = np.empty(0, dtype=np.uint8)
        received = [into, counts, starts, MPI.BYTE]
        self._wait([self._world.comm.Igatherv([nothing, MPI.BYTE], received, root=SERVER)], what, work)
        self.meter.uplink += int(counts.sum())

    def _receive_each(self, into: np.ndarray, sizes: Sequence[int]) -> None:
        requests = []
        for rank, view in enumerate(split(into, sizes)):
            requests += start_receive(self._world.comm, view, rank, MESSAGES_TAG, self._chunk_bytes)
        self._wait(requests, "messages")
        self.meter.uplink += sum(sizes)

    def _wait(self, requests: Sequence[MPI.Request], what: str, work: int = 1) -> None:
        wait_all(requests, self._watchdog.wait(), self._usual[what], work)
