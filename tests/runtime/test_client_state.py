import numpy as np
import pytest
import torch
from mpi4py import MPI

from fedcomloc_mpi.runtime.client_state import ClientState

pytestmark = pytest.mark.mpi(min_size=2)

CLIENTS, SIZE, COHORT = 6, 37, 4


def test_ranks_hand_clients_to_one_another() -> None:
    comm = MPI.COMM_WORLD
    state = ClientState(comm, CLIENTS, 2, SIZE, COHORT, 1)
    for client in range(CLIENTS):
        assert all(vector.shape == (SIZE,) and not vector.any() for vector in state.of(client))
    comm.Barrier()
    for round in range(5):
        for client in range(CLIENTS):
            if (client + round) % comm.size == comm.rank:
                first, second = state.of(client)
                assert first.dtype == torch.float32
                assert (first == client * round).all()
                first += client
                second -= 2 * client
        comm.Barrier()
    total = np.zeros((2, SIZE))
    weights = np.array([9.0, 1.0, 9.0, 9.0, 0.5, 2.0])
    state.add_to(total, np.array([1, 4, 5]), weights)
    assert (total[0] == 5 * (1 + 2 + 10)).all()
    assert (total[1] == -10 * (1 + 2 + 10)).all()


def test_sums_are_taken_in_the_given_order_in_double_precision() -> None:
    comm = MPI.COMM_WORLD
    state = ClientState(comm, CLIENTS, 1, SIZE, COHORT, 1)
    values = [3.0, 2.0**60, -(2.0**60), 1.0]
    if comm.rank == 0:
        for client, value in enumerate(values):
            state.of(client)[0].fill_(value)
    comm.Barrier()
    for order in ([0, 1, 2, 3], [1, 2, 0, 3], [3, 1, 0, 2]):
        total = np.zeros((1, SIZE))
        state.add_to(total, np.array(order), np.ones(CLIENTS))
        expected = 0.0
        for client in order:
            expected += values[client]
        assert (total == expected).all()
    comm.Barrier()


def test_the_uploads_of_two_rounds_are_seen_by_all() -> None:
    comm = MPI.COMM_WORLD
    state = ClientState(comm, CLIENTS, 1, SIZE, COHORT, 2)
    for round in range(1, 6):
        for position in range(COHORT):
            if position % comm.size == comm.rank:
                for vector, upload in enumerate(state.upload(round, position)):
                    assert upload.shape == (SIZE,)
                    assert upload.is_contiguous()
                    assert upload.data_ptr() % 64 == 0
                    upload.fill_(100 * round + 10 * position + vector)
        comm.Barrier()
        for held in range(max(1, round - 1), round + 1):
            for position in range(COHORT):
                for vector, upload in enumerate(state.upload(held, position)):
                    assert (upload == 100 * held + 10 * position + vector).all()
        comm.Barrier()


def test_methods_without_control_variates_keep_none() -> None:
    state = ClientState(MPI.COMM_WORLD, CLIENTS, 0, SIZE, COHORT, 1)
    assert state.of(3) == ()


@pytest.mark.parametrize("interrupted", ["before", "computing", "staged", "complete"])
def test_a_commit_is_done_once_whoever_dies_in_it(interrupted: str) -> None:
    """A state of one rank, which stands for two: one that dies, and the one that completes its work."""
    state = ClientState(MPI.COMM_SELF, CLIENTS, 1, SIZE, COHORT, 1, journal=True)
    (control,) = state.of(3)
    calls = 0

    def update(upload: tuple[torch.Tensor, ...], control: tuple[torch.Tensor, ...]) -> None:
        nonlocal calls
        calls += 1
        control[0].add_(upload[0].mul_(2.0))
        if interrupted == "computing" and calls == 1:
            raise KeyboardInterrupt

    for round in (1, 2):
        before = control.clone()
        calls = 0
        state.upload(round, 2)[0].fill_(float(round))
        if interrupted == "computing":
            with pytest.raises(KeyboardInterrupt):
                state.commit(round, 2, 3, update)
        elif interrupted != "before":
            state.commit(round, 2, 3, update)
        if interrupted == "staged":  # what is left when the rank dies while it copies
            control[: SIZE // 2] = before[: SIZE // 2]
            state._journal[2] = 2 * round
        state.commit(round, 2, 3, update)
        state.commit(round, 2, 3, update)
        assert (control == before + 2.0 * round).all()
        assert calls == (2 if interrupted == "computing" else 1)
        assert (state.upload(round, 2)[0] == round).all()
