import os

import pytest
from mpi4py import MPI

from fedcomloc_mpi.errors import AgreedError, RankLost
from fedcomloc_mpi.transport.survival import is_loss, refuse_without_ulfm, surviving_homes
from fedcomloc_mpi.transport.world import World
from tests.transport.worlds import world_of


def a_world(*node_of: int) -> World:
    """A description only: its communicators have one rank."""
    return World(
        comm=MPI.COMM_SELF,
        node=MPI.COMM_SELF,
        node_of=node_of,
        hosts=tuple(f"host{node}" for node in node_of),
        processes=tuple(range(100, 100 + len(node_of))),
    )


@pytest.mark.parametrize(
    "vendor", [("MPICH", (5, 0, 2)), ("Intel MPI", (2021, 18, 0)), ("Open MPI", (4, 1, 4))]
)
def test_libraries_without_ulfm(
    vendor: tuple[str, tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MPI, "get_vendor", lambda: vendor)
    with pytest.raises(AgreedError, match=r"needs ULFM, which Open MPI 5 has; .* --on-rank-loss stop"):
        refuse_without_ulfm({"OMPI_MCA_mpi_ft_enable": "1"})


@pytest.mark.parametrize("environment", [{}, {"OMPI_MCA_mpi_ft_enable": "0"}])
def test_ulfm_that_is_not_switched_on(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MPI, "get_vendor", lambda: ("Open MPI", (5, 0, 11)))
    with pytest.raises(AgreedError, match="mpirun --with-ft ulfm"):
        refuse_without_ulfm(environment)
    refuse_without_ulfm({"OMPI_MCA_mpi_ft_enable": "1"})


def test_which_errors_are_losses() -> None:
    assert is_loss(MPI.Exception(MPI.ERR_PROC_FAILED))
    assert is_loss(MPI.Exception(MPI.ERR_REVOKED))
    assert not is_loss(MPI.Exception(MPI.ERR_TRUNCATE))


def test_clients_stay_where_their_state_is() -> None:
    world = a_world(0, 0, 1, 1, 2)
    assert surviving_homes(world, [0, 1, 3, 4], pinned=True) == (0, 0, 1, 1, 2)


def test_a_node_without_client_ranks() -> None:
    world = a_world(0, 0, 1, 1, 2)
    with pytest.raises(RankLost, match=r"no client rank is left on host1, .* --resume goes on"):
        surviving_homes(world, [0, 1, 4], pinned=True)
    homes = surviving_homes(world, [0, 1, 4], pinned=False)
    assert (homes[1], homes[4]) == (0, 2)
    assert set(homes[1:]) == {0, 2}


def test_the_server_s_own_node_hosts_no_clients() -> None:
    assert surviving_homes(a_world(0, 1, 1), [0, 2], pinned=True) == (0, 1, 1)


def test_no_client_is_left() -> None:
    with pytest.raises(RankLost, match="every client rank is lost"):
        surviving_homes(a_world(0, 0, 0), [0], pinned=False)


@pytest.mark.mpi(min_size=3)
def test_a_world_keeps_the_names_of_its_ranks() -> None:
    world = world_of(MPI.COMM_WORLD, [rank % 2 for rank in range(MPI.COMM_WORLD.size)])
    kept = [rank for rank in range(world.size) if rank != 1]
    names = [world.name(rank) for rank in kept]
    comm = MPI.Intracomm(world.comm.Split(int(world.rank in kept), world.rank))
    if world.rank not in kept:
        return
    homes = world.homes
    world.keep(comm, MPI.COMM_SELF, kept)
    assert [world.name(rank) for rank in range(world.size)] == names
    assert world.homes == homes
    assert world.node_of == tuple(homes[rank] for rank in kept)
    assert world.processes[world.rank] == os.getpid()
