import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpi4py import MPI

from fedcomloc_mpi.transport.collectives import ByteMeter, CollectiveExchange, Command, RankReport
from fedcomloc_mpi.transport.world import World
from tests.transport.worlds import world_of

FLOATS = st.floats(width=64)


@st.composite
def reports(draw: st.DrawFn) -> tuple[RankReport, int, int, int]:
    clients, parts, vectors = draw(st.integers(0, 5)), draw(st.integers(0, 7)), draw(st.integers(1, 3))
    lengths = st.lists(st.integers(0, 2**62), min_size=clients * vectors, max_size=clients * vectors)
    report = RankReport(
        signal=draw(st.integers(0, 64)),
        seconds=np.array(draw(st.lists(FLOATS, min_size=parts, max_size=parts)), dtype=np.float64),
        losses=np.array(draw(st.lists(FLOATS, min_size=clients, max_size=clients)), dtype=np.float64),
        lengths=np.array(draw(lengths), dtype=np.int64).reshape(clients, vectors),
    )
    return report, clients, parts, vectors


@given(reports())
def test_a_report_survives_packing(case: tuple[RankReport, int, int, int]) -> None:
    report, clients, parts, vectors = case
    packed = report.pack()
    assert packed.dtype == np.uint8
    assert (
        packed.size
        == RankReport.size(clients, parts, vectors)
        == 8 * (1 + parts + clients + clients * vectors)
    )
    read = RankReport.unpack(packed, clients, parts, vectors)
    assert read.signal == report.signal
    assert read.seconds.tobytes() == report.seconds.tobytes()
    assert read.losses.tobytes() == report.losses.tobytes()
    assert np.array_equal(read.lengths, report.lengths)
    packed[:] = 255  # what is read stays when the buffer is used again
    assert read.losses.tobytes() == report.losses.tobytes()


def test_a_negative_length_is_refused() -> None:
    report = RankReport(0, np.zeros(2), np.zeros(1), np.array([[5, -1]]))
    with pytest.raises(ValueError, match="negative"):
        RankReport.unpack(report.pack(), 1, 2, 2)


def content(length: int, *place: int) -> np.ndarray:
    """The bytes of one message, different for every place (round, rank, client, vector)."""
    return np.random.default_rng(place).integers(0, 256, length, dtype=np.uint8)


def draw_length(random: np.random.Generator) -> int:
    """Mostly short, often nothing, sometimes beyond what MPI libraries send eagerly."""
    longest = int(random.choice([0, 0, 1, 7, 5000, 400_000]))
    return int(random.integers(longest + 1))


class Rounds:
    """Random rounds that all ranks derive alike, sent through an exchange and checked on arrival."""

    def __init__(
        self, world: World, seed: int, parts: int, uplink_vectors: int, downlink_vectors: int
    ) -> None:
        self.world, self.parts = world, parts
        self.up, self.down = uplink_vectors, downlink_vectors
        self.random = np.random.default_rng(seed)
        self.exchange = CollectiveExchange(world, parts, uplink_vectors, downlink_vectors)
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
        header = 8 * (1 + self.down)
        fixed = [8 * (1 + self.parts) + 8 * count * (1 + self.up) for count in counts]
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
        received = self.exchange.receive_reports(counts)
        assert len(received) == self.world.size - 1
        for report, sent in zip(received, expected[1:], strict=True):
            assert report.signal == sent.signal
            assert report.seconds.tolist() == sent.seconds.tolist()
            assert report.losses.tobytes() == sent.losses.tobytes()
            assert report.lengths.tolist() == sent.lengths.tolist()
        messages = iter(self.exchange.receive_messages(received))
        for rank, count in enumerate(counts):
            for client in range(count):
                vectors = next(messages)
                assert len(vectors) == self.up
                for vector, message in enumerate(vectors):
                    length = expected[rank].lengths[client, vector]
                    assert message.dtype == np.uint8
                    assert np.array_equal(message, content(length, number, rank, client, vector))
        assert next(messages, None) is None
        self.exchange.send_downlink(
            command, [content(length, number, 0, 0, vector) for vector, length in enumerate(down)]
        )

    def take_part(self, number: int, command: Command, report: RankReport, down: list[int]) -> None:
        messages = [
            content(length, number, self.world.rank, client, vector)
            for client, lengths in enumerate(report.lengths)
            for vector, length in enumerate(lengths)
        ]
        self.exchange.send_uplink(report, messages)
        received_command, vectors = self.exchange.receive_downlink()
        assert received_command is command
        assert len(vectors) == len(down)
        for vector, (message, length) in enumerate(zip(vectors, down, strict=True)):
            assert np.array_equal(message, content(length, number, 0, 0, vector))


@pytest.mark.mpi(min_size=2)
@pytest.mark.parametrize(("parts", "uplink_vectors", "downlink_vectors"), [(7, 1, 1), (0, 2, 2), (3, 3, 1)])
def test_round_trips_and_byte_meters(parts: int, uplink_vectors: int, downlink_vectors: int) -> None:
    world = world_of(MPI.COMM_WORLD)
    rounds = Rounds(world, 17, parts, uplink_vectors, downlink_vectors)
    up = down = 0
    for number in range(1, 31):
        rounds.one(number, Command.FINISH if number == 30 else Command.CONTINUE)
        taken = rounds.exchange.meter.take()
        assert taken == (rounds.uplink_bytes - up, rounds.downlink_bytes - down)
        up, down = rounds.uplink_bytes, rounds.downlink_bytes
    assert (rounds.exchange.meter.uplink, rounds.exchange.meter.downlink) == (up, down)
    rounds.exchange.meter.check(world)


@pytest.mark.mpi(min_size=2)
def test_nothing_follows_the_header_of_an_abandoned_round() -> None:
    world = world_of(MPI.COMM_WORLD)
    rounds = Rounds(world, 18, 2, 1, 1)
    rounds.one(1, Command.CONTINUE)
    rounds.one(2, Command.ABANDON)
    meter = rounds.exchange.meter
    assert (meter.uplink, meter.downlink) == (rounds.uplink_bytes, rounds.downlink_bytes)
    meter.check(world)


@pytest.mark.mpi(min_size=2)
def test_the_caller_is_called_while_messages_are_missing() -> None:
    world = world_of(MPI.COMM_WORLD)
    exchange = CollectiveExchange(world, 0, 1, 1)
    calls = 0

    def between() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:  # only now the other side is told to send
            world.comm.Barrier()

    empty = RankReport(0, np.zeros(0), np.zeros(0), np.zeros((0, 1), dtype=np.int64))
    if world.is_server:
        reports = exchange.receive_reports([0] * world.size, between)
        assert exchange.receive_messages(reports) == []
        world.comm.Barrier()
        exchange.send_downlink(Command.FINISH, [np.zeros(3, dtype=np.uint8)])
    else:
        world.comm.Barrier()
        exchange.send_uplink(empty, [])
        calls = 0
        command, (vector,) = exchange.receive_downlink(between)
        assert command is Command.FINISH
        assert vector.tolist() == [0, 0, 0]
    assert calls >= 3


@pytest.mark.mpi(min_size=2)
def test_every_rank_is_told_when_the_meters_disagree() -> None:
    world = world_of(MPI.COMM_WORLD)
    for culprit in range(world.size):
        for direction in ("uplink", "downlink"):
            meter = ByteMeter(uplink=100, downlink=100)
            if world.is_server:
                meter = ByteMeter(uplink=100 * (world.size - 1), downlink=100 * (world.size - 1))
            meter.check(world)
            if world.rank == culprit:
                setattr(meter, direction, getattr(meter, direction) + 1)
            with pytest.raises(RuntimeError, match=f"^{direction}: .* disagree by -?1 bytes"):
                meter.check(world)


@pytest.mark.mpi(min_size=2)
def test_a_report_that_contradicts_its_messages_is_not_sent() -> None:
    exchange = CollectiveExchange(world_of(MPI.COMM_WORLD), 0, 1, 1)
    report = RankReport(0, np.zeros(0), np.zeros(1), np.array([[5]]))
    with pytest.raises(ValueError, match="announces 5 bytes of messages, but they have 4"):
        exchange.send_uplink(report, [np.zeros(4, dtype=np.uint8)])
    assert exchange.meter.uplink == 0
