"""Both exchanges, in whole rounds: what arrives, in which order, and how many bytes that took."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np
import pytest
from mpi4py import MPI

from fedcomloc_mpi.errors import RankLost
from fedcomloc_mpi.transport.exchange import Command, Downlink, Exchange
from fedcomloc_mpi.transport.registry import EXCHANGES
from fedcomloc_mpi.transport.report import RankReport
from fedcomloc_mpi.transport.watchdog import Watchdog
from fedcomloc_mpi.transport.world import World
from tests.transport.worlds import world_of

LARGEST = 400_000
both = pytest.mark.parametrize("name", list(EXCHANGES))


def content(length: int, *place: int) -> np.ndarray:
    """The bytes of one message, different for every place (round, rank, client, vector)."""
    return np.random.default_rng(place).integers(0, 256, length, dtype=np.uint8)


def draw_length(random: np.random.Generator) -> int:
    """Mostly short, often nothing, sometimes beyond what MPI libraries send eagerly."""
    longest = int(random.choice([0, 0, 1, 7, 5000, 400_000]))
    return int(random.integers(longest + 1))


class Receiving(AbstractContextManager[None]):
    """Counts how often it is entered; never inside itself."""

    entered, inside = 0, False

    def __enter__(self) -> None:
        assert not self.inside
        self.entered, self.inside = self.entered + 1, True

    def __exit__(self, *exception: object) -> None:
        self.inside = False


def open_exchange(
    name: str,
    world: World,
    parts: int = 0,
    uplink_vectors: int = 1,
    downlink_vectors: int = 1,
    chunk_bytes: int = 1 << 30,
    limit: float | None = None,
) -> Exchange:
    watchdog = Watchdog(world, limit)
    return EXCHANGES[name](
        world, watchdog, parts, 5 * world.size, uplink_vectors, downlink_vectors, LARGEST, chunk_bytes
    )


class Rounds:
    """Random rounds that all ranks derive alike, sent through an exchange and checked on arrival."""

    def __init__(
        self,
        name: str,
        world: World,
        seed: int,
        parts: int,
        uplink_vectors: int,
        downlink_vectors: int,
        chunk_bytes: int = 1 << 30,
    ) -> None:
        self.world, self.parts = world, parts
        self.up, self.down = uplink_vectors, downlink_vectors
        self.random = np.random.default_rng(seed)
        self.exchange = open_exchange(name, world, parts, uplink_vectors, downlink_vectors, chunk_bytes)
        self.uplink_bytes = self.downlink_bytes = 0

    def one(self, number: int, command: Command) -> None:
        counts = [0, *self.random.integers(0, 5, self.world.size - 1).tolist()]
        lengths = [
            np.array(
                [[draw_length(self.random) for _ in range(self.up)] for _ in range(count)], dtype=np.int64
            )
            for count in counts
        ]
        down = [draw_length(self.random) for _ in range(self.down)] if command is not Command.ABANDON else []
        expected = [
            RankReport(
                signal=number % 16,
                seconds=np.arange(self.parts) + rank + number / 1024,
                losses=np.array([np.nan, 1.5, 2.5, -0.0, np.inf])[:count],
                lengths=lengths[rank].reshape(count, self.up),
            )
            for rank, count in enumerate(counts)
        ]
        header = 8 * (1 + self.down + self.world.size)
        fixed = [8 * (4 + self.parts) + 8 * count * (1 + self.up) for count in counts]
        if self.world.is_server:
            self.serve(number, command, counts, expected, down)
            self.uplink_bytes += sum(fixed[1:]) + int(sum(each.sum() for each in lengths))
            self.downlink_bytes += (self.world.size - 1) * (header + sum(down))
        else:
            rank = self.world.rank
            self.take_part(number, command, expected[rank], down)
            self.uplink_bytes += fixed[rank] + int(lengths[rank].sum())
            self.downlink_bytes += header + sum(down)

    def serve(
        self, number: int, command: Command, counts: list[int], expected: list[RankReport], down: list[int]
    ) -> None:
        receiving, arrived = Receiving(), set()
        for arrival in self.exchange.arrivals(counts, receiving):
            assert not receiving.inside
            assert arrival.rank not in arrived
            arrived.add(arrival.rank)
            report, sent = arrival.report, expected[arrival.rank]
            assert report.signal == sent.signal
            assert report.seconds.tolist() == sent.seconds.tolist()
            assert report.losses.tobytes() == sent.losses.tobytes()
            assert report.lengths.tolist() == sent.lengths.tolist()
            assert len(arrival.messages) == counts[arrival.rank]
            for client, vectors in enumerate(arrival.messages):
                assert len(vectors) == self.up
                for vector, message in enumerate(vectors):
                    length = sent.lengths[client, vector]
                    assert message.dtype == np.uint8
                    assert np.array_equal(message, content(length, number, arrival.rank, client, vector))
        assert arrived == set(range(1, self.world.size))
        vectors = [content(length, number, 0, 0, vector) for vector, length in enumerate(down)]
        self.exchange.send_downlink(Downlink(command, vectors, self.speeds(number)))

    def speeds(self, number: int) -> np.ndarray:
        return np.arange(self.world.size) + 1000 * number

    def take_part(self, number: int, command: Command, report: RankReport, down: list[int]) -> None:
        messages = [
            content(length, number, self.world.rank, client, vector)
            for client, lengths in enumerate(report.lengths)
            for vector, length in enumerate(lengths)
        ]
        self.exchange.send_uplink(report, messages)
        received = self.exchange.receive_downlink()
        assert received.command is command
        assert received.speeds.tolist() == self.speeds(number).tolist()
        for vector, (message, length) in enumerate(zip(received.vectors, down, strict=True)):
            assert np.array_equal(message, content(length, number, 0, 0, vector))


@pytest.mark.mpi(min_size=2)
@pytest.mark.parametrize(
    ("parts", "uplink_vectors", "downlink_vectors", "chunk_bytes"),
    [(7, 1, 1, 1 << 30), (0, 2, 2, 1 << 30), (3, 3, 1, 1 << 30), (2, 1, 2, 40_000), (1, 2, 1, 7_001)],
)
@both
def test_round_trips_and_byte_meters(
    name: str, parts: int, uplink_vectors: int, downlink_vectors: int, chunk_bytes: int
) -> None:
    world = world_of(MPI.COMM_WORLD)
    rounds = Rounds(name, world, 17, parts, uplink_vectors, downlink_vectors, chunk_bytes)
    up = down = 0
    last = 30 if chunk_bytes > LARGEST else 6  # every piece takes a wait
    for number in range(1, last + 1):
        rounds.one(number, Command.FINISH if number == last else Command.CONTINUE)
        taken = rounds.exchange.meter.take()
        assert taken == (rounds.uplink_bytes - up, rounds.downlink_bytes - down)
        up, down = rounds.uplink_bytes, rounds.downlink_bytes
    assert (rounds.exchange.meter.uplink, rounds.exchange.meter.downlink) == (up, down)
    rounds.exchange.meter.check(world)


@pytest.mark.mpi(min_size=2)
@both
def test_nothing_follows_the_header_of_an_abandoned_round(name: str) -> None:
    world = world_of(MPI.COMM_WORLD)
    rounds = Rounds(name, world, 18, 2, 1, 1)
    rounds.one(1, Command.CONTINUE)
    rounds.one(2, Command.ABANDON)
    meter = rounds.exchange.meter
    assert (meter.uplink, meter.downlink) == (rounds.uplink_bytes, rounds.downlink_bytes)
    meter.check(world)


def report_of(*lengths: int) -> RankReport:
    return RankReport(0, np.zeros(0), np.zeros(len(lengths)), np.array(lengths).reshape(-1, 1))


@pytest.mark.mpi(min_size=4)
def test_point_to_point_hands_over_whoever_is_there() -> None:
    """The lowest client rank sends when all others have been handed over, so that nobody waits for it."""
    world = world_of(MPI.COMM_WORLD)
    exchange = open_exchange("p2p", world)
    last = 1
    if world.is_server:
        arrived = []
        for arrival in exchange.arrivals([0] + [1] * (world.size - 1), Receiving()):
            arrived.append(arrival.rank)
            assert arrival.messages[0][0].tolist() == [arrival.rank] * 3
            if len(arrived) == world.size - 2:
                world.comm.send("now", dest=last, tag=99)
        assert arrived[-1] == last
        exchange.send_downlink(Downlink(Command.FINISH, [np.zeros(3, dtype=np.uint8)], np.zeros(world.size)))
    else:
        if world.rank == last:
            world.comm.recv(source=0, tag=99)
        exchange.send_uplink(report_of(3), [np.full(3, world.rank, dtype=np.uint8)])
        assert exchange.receive_downlink().vectors[0].tolist() == [0, 0, 0]


@pytest.mark.mpi(min_size=4)
@both
def test_the_rank_that_sends_nothing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All others have sent and wait for the server, which they prove by answering it."""
    monkeypatch.setattr("fedcomloc_mpi.transport.watchdog._CLIENT_SECONDS", 5.0)
    world = world_of(MPI.COMM_WORLD)
    exchange = open_exchange(name, world, limit=1.0)
    hung = 2
    if world.is_server:
        expected = rf"rank 0 waited 1 s in vain for rank {hung} \(process \d+ on host0\)$"
        with pytest.raises(RankLost, match=expected):
            list(exchange.arrivals([0] * world.size, Receiving()))
    elif world.rank != hung:
        exchange.send_uplink(report_of(), [])
        with pytest.raises(RankLost, match="in vain for rank 0, the server"):
            exchange.receive_downlink()
    MPI.COMM_WORLD.Barrier()


@pytest.mark.mpi(min_size=2)
@pytest.mark.parametrize("chunk_bytes", [40_000, 1 << 30])
def test_many_bytes_travel_message_by_message(chunk_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedcomloc_mpi.transport.p2p._APART_FROM", 2000)
    rounds = Rounds("p2p", world_of(MPI.COMM_WORLD), 5, 3, 2, 1, chunk_bytes)

    pack = rounds.exchange._pack_messages

    def refuse(messages: Sequence[np.ndarray]) -> np.ndarray:
        assert len(messages) < 2, "messages are copied"
        return pack(messages)

    for number in range(1, 7):
        rounds.one(number, Command.CONTINUE)
    monkeypatch.setattr("fedcomloc_mpi.transport.p2p._APART_FROM", 0)
    monkeypatch.setattr(rounds.exchange, "_pack_messages", refuse)
    for number in range(7, 12):
        rounds.one(number, Command.CONTINUE)
    assert (rounds.exchange.meter.uplink, rounds.exchange.meter.downlink) == (
        rounds.uplink_bytes,
        rounds.downlink_bytes,
    )


@pytest.mark.mpi(min_size=2)
@both
def test_clients_watch_the_server(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedcomloc_mpi.transport.watchdog._CLIENT_SECONDS", 0.5)
    world = world_of(MPI.COMM_WORLD)
    exchange = open_exchange(name, world, limit=1.0)
    if world.is_server:
        time.sleep(2.5)
    else:
        with pytest.raises(RankLost, match=r"in vain for rank 0, the server \(process \d+ on host0\)"):
            exchange.receive_downlink()


@pytest.mark.mpi(min_size=2)
@both
def test_a_report_that_contradicts_its_messages_is_not_sent(name: str) -> None:
    exchange = open_exchange(name, world_of(MPI.COMM_WORLD))
    with pytest.raises(ValueError, match=r"announces messages of \[5\] bytes, but they have \[4\]"):
        exchange.send_uplink(report_of(5), [np.zeros(4, dtype=np.uint8)])
    with pytest.raises(ValueError, match="longer than 400000 bytes"):
        exchange.send_uplink(report_of(LARGEST + 1), [np.zeros(LARGEST + 1, dtype=np.uint8)])
    assert exchange.meter.uplink == 0
