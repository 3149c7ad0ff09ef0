from collections.abc import Mapping

import numpy as np
import pytest
from mpi4py import MPI

from fedcomloc_mpi.errors import AgreedError, UserError
from fedcomloc_mpi.transport.wait import wait_all
from fedcomloc_mpi.transport.world import SERVER, library_version, open_world, refuse_singletons
from tests.transport.worlds import world_of


@pytest.mark.parametrize("size", [2, 3, 11])
@pytest.mark.parametrize("environment", [{}, {"PMI_SIZE": "11"}, {"SLURM_STEP_NUM_TASKS": "1"}])
def test_two_ranks_are_enough(size: int, environment: Mapping[str, str]) -> None:
    refuse_singletons(size, environment)


@pytest.mark.parametrize(
    "environment", [{}, {"PMI_SIZE": "1"}, {"OMPI_COMM_WORLD_SIZE": ""}, {"SLURM_STEP_NUM_TASKS": "many"}]
)
def test_one_rank_is_told_how_to_start_more(environment: Mapping[str, str]) -> None:
    with pytest.raises(
        AgreedError, match=r"one rank only.*mpirun -n 3 python -m fedcomloc_mpi\.train"
    ) as refusal:
        refuse_singletons(1, environment)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "variable", ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE", "SLURM_STEP_NUM_TASKS"]
)
def test_many_worlds_of_one_rank_are_noticed(variable: str) -> None:
    with pytest.raises(
        AgreedError, match=rf"11 processes.*{variable}=11.*another MPI.*srun --mpi="
    ) as refusal:
        refuse_singletons(1, {variable: "11"})
    assert "\n" not in str(refusal.value)
    assert library_version().splitlines()[0] in str(refusal.value)


def test_a_world_of_one_rank_is_not_opened() -> None:
    with pytest.raises(AgreedError):
        open_world(MPI.COMM_SELF)


@pytest.mark.mpi(min_size=2)
def test_the_facts_of_a_world() -> None:
    comm = MPI.COMM_WORLD
    world = open_world(comm)
    assert (world.rank, world.size) == (comm.rank, comm.size)
    assert world.is_server == (comm.rank == SERVER)
    assert MPI.Comm.Compare(world.comm, comm) == MPI.CONGRUENT
    assert world.hosts == tuple(comm.allgather(MPI.Get_processor_name()))
    # All ranks of the tests run on one machine.
    assert world.node_of == (0,) * comm.size
    assert (world.node.rank, world.node.size) == (comm.rank, comm.size)
    assert world.leads_node == (comm.rank == 0)


@pytest.mark.mpi(min_size=2)
def test_nodes_are_numbered_in_the_order_of_their_lowest_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks dealt to nodes in turn, as launchers do by default on a cluster."""
    comm = MPI.COMM_WORLD.Dup()
    count = min(3, comm.size)

    class Dealt(MPI.Intracomm):
        def Dup(self, info: MPI.Info | None = None) -> "Dealt":
            return self

        def Split_type(self, kind: int, key: int = 0, info: MPI.Info = MPI.INFO_NULL) -> MPI.Intracomm:
            # The node of the highest rank gets the lowest color.
            return MPI.Intracomm(comm.Split(-(self.rank % count) % count, key))

    world = open_world(Dealt(comm))
    assert world.node_of == tuple(rank % count for rank in range(comm.size))
    assert world.leads_node == (comm.rank < count)
    assert world.node.allgather(comm.rank) == list(range(comm.rank % count, comm.size, count))


@pytest.mark.mpi(min_size=2)
def test_messages_of_the_caller_never_meet_those_of_a_world() -> None:
    comm = MPI.COMM_WORLD
    received = np.zeros(1, dtype=np.int64)
    request = comm.Irecv(received, source=MPI.ANY_SOURCE, tag=MPI.ANY_TAG)
    world = open_world(comm)
    world.agree(None)
    wait_all([world.comm.Ibarrier()])
    arrived = request.Test()
    comm.Barrier()
    assert not arrived
    comm.Send(np.array([comm.rank + 1]), dest=(comm.rank + 1) % comm.size, tag=5)
    request.Wait()
    assert received[0] == (comm.rank - 1) % comm.size + 1


@pytest.mark.mpi(min_size=2)
def test_without_an_error_all_agree() -> None:
    world = world_of(MPI.COMM_WORLD)
    for _ in range(20):
        world.agree(None)


@pytest.mark.mpi(min_size=2)
@pytest.mark.parametrize("text", ["no such file: ~/Übung", "line 1\nline 2", "x" * 5000, "ü" * 3000, ""])
def test_an_error_on_any_rank_reaches_all(text: str) -> None:
    world = world_of(MPI.COMM_WORLD)
    for culprit in range(world.size):
        with pytest.raises(AgreedError) as raised:
            world.agree(UserError(text) if world.rank == culprit else None)
        shown = str(raised.value)
        if len(text.encode()) <= 2048 and text:
            assert shown == text
        elif text:
            assert text.startswith(shown.rstrip("\N{REPLACEMENT CHARACTER}"))
            assert len(shown.encode()) > 2000
    world.agree(None)


@pytest.mark.mpi(min_size=2)
def test_of_several_errors_all_raise_that_of_the_lowest_rank() -> None:
    world = world_of(MPI.COMM_WORLD)
    for first in range(world.size):
        with pytest.raises(AgreedError, match=f"^rank {first}$"):
            world.agree(UserError(f"rank {world.rank}") if world.rank >= first else None)


@pytest.mark.mpi(min_size=2)
@pytest.mark.parametrize("limit", [7, 1 << 30])
def test_large_arrays_are_broadcast_in_pieces(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedcomloc_mpi.transport.world.CHUNK_BYTES", limit)
    here = world_of(MPI.COMM_WORLD)
    for dtype in (np.float32, np.int64):
        expected = np.arange(15, dtype=dtype).reshape(3, 5)
        array = expected.copy() if here.is_server else np.zeros_like(expected)
        here.broadcast(array)
        assert array.tolist() == expected.tolist()
