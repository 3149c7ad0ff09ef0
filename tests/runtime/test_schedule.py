from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mpi4py import MPI
from torch.nn.functional import cross_entropy

from fedcomloc_mpi.algorithms import ALGORITHMS
from fedcomloc_mpi.compressors import build as build_compressor
from fedcomloc_mpi.config import make_config
from fedcomloc_mpi.models import FlatModel
from fedcomloc_mpi.runtime.schedule import assign, committing, draw_cohort, local_steps
from fedcomloc_mpi.runtime.setup import Setup
from fedcomloc_mpi.transport.world import World

SEEDS = st.integers(0, 2**63 - 1)


@pytest.mark.parametrize("p", [0.05, 0.1, 0.3, 0.9, 1.0])
def test_geometric_local_steps(p: float) -> None:
    count = 5000
    drawn = np.array([local_steps(7, round, p, "geometric") for round in range(1, count + 1)])
    assert drawn.min() >= 1
    # Mean 1 / p and variance (1 - p) / p^2; the probability of one step is p. All within 5 standard deviations.
    assert abs(drawn.mean() - 1 / p) <= 5 * ((1 - p) / p**2 / count) ** 0.5
    assert abs((drawn == 1).mean() - p) <= 5 * (p * (1 - p) / count) ** 0.5
    # Neighbouring rounds are independent.
    if p < 1:
        assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 5 / count**0.5


@given(SEEDS, st.integers(1, 10**6), st.floats(1e-6, 1))
def test_fixed_local_steps(seed: int, round_number: int, p: float) -> None:
    assert local_steps(seed, round_number, p, "fixed") == max(1, round(1 / p))


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[int, int]:
    clients = draw(st.integers(1, 200))
    return clients, draw(st.integers(1, clients))


@given(SEEDS, st.integers(1, 10**6), cohorts())
def test_a_cohort_is_a_set_of_clients_in_order(seed: int, round: int, sizes: tuple[int, int]) -> None:
    clients, size = sizes
    cohort = draw_cohort(seed, round, clients, size)
    assert cohort.dtype == np.int64
    assert cohort.tolist() == sorted(set(cohort.tolist()))
    assert len(cohort) == size
    assert cohort[0] >= 0
    assert cohort[-1] < clients
    assert draw_cohort(seed, round, clients, size).tolist() == cohort.tolist()


def test_every_client_is_drawn_equally_often() -> None:
    rounds, clients, size = 3000, 20, 6
    counts = np.zeros(clients)
    pairs = np.zeros((clients, clients))
    for round in range(1, rounds + 1):
        cohort = draw_cohort(3, round, clients, size)
        counts[cohort] += 1
        pairs[np.ix_(cohort, cohort)] += 1
    share = size / clients
    assert np.abs(counts / rounds - share).max() < 5 * (share * (1 - share) / rounds) ** 0.5
    # Pairs too: size (size - 1) / (clients (clients - 1)) of the rounds.
    share = size * (size - 1) / (clients * (clients - 1))
    together = pairs[np.triu_indices(clients, 1)] / rounds
    assert np.abs(together - share).max() < 5 * (share * (1 - share) / rounds) ** 0.5


def test_rounds_and_seeds_have_cohorts_of_their_own() -> None:
    drawn = {tuple(draw_cohort(seed, round, 50, 10)) for seed in (0, 1) for round in range(1, 101)}
    assert len(drawn) == 200


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[int], int]:
    """Nodes of the ranks, numbered as `open_world` numbers them, and a number of clients."""
    ranks = draw(st.integers(2, 12))
    raw = draw(st.lists(st.integers(0, 3), min_size=ranks, max_size=ranks))
    order = list(dict.fromkeys(raw))
    return [order.index(node) for node in raw], draw(st.integers(1, 60))


@given(layouts(), st.data())
def test_a_cohort_is_spread_over_the_client_ranks(layout: tuple[list[int], int], data: st.DataObject) -> None:
    node_of, clients = layout
    ranks = len(node_of)
    cohort = draw_cohort(1, 1, clients, data.draw(st.integers(1, clients)))
    assignment = assign(cohort, node_of)
    assert len(assignment.positions) == ranks
    assert assignment.positions[0] == ()
    assert sorted(assignment.arrival_order) == list(range(len(cohort)))
    assert assignment.counts == [len(positions) for positions in assignment.positions]
    loads: dict[int, list[int]] = {}
    for rank in range(1, ranks):
        positions = assignment.positions[rank]
        assert list(positions) == sorted(positions)
        loads.setdefault(node_of[rank], []).append(len(positions))
        for position in positions:
            home = node_of[1 + int(cohort[position]) % (ranks - 1)]
            assert node_of[rank] == home
    for counts in loads.values():
        assert max(counts) - min(counts) <= 1


@st.composite
def loads(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """The work of the members of a cohort, and the speeds of the ranks of one node."""
    work = draw(st.lists(st.integers(1, 1000), min_size=1, max_size=30))
    speeds = draw(st.lists(st.integers(256, 4096), min_size=2, max_size=12))
    return np.array(work), np.array(speeds)


@given(loads())
def test_nobody_would_be_done_earlier_elsewhere(load: tuple[np.ndarray, np.ndarray]) -> None:
    """Of the clients of a rank, the one given to it last could not have been done earlier by another rank."""
    work, speeds = load
    ranks = len(speeds)
    assignment = assign(np.arange(len(work)), [0] * ranks, work, speeds)
    assert sorted(assignment.arrival_order) == list(range(len(work)))
    done = np.array([work[list(positions)].sum() for positions in assignment.positions]) / speeds
    for rank in range(1, ranks):
        if assignment.positions[rank]:
            last = min(work[list(assignment.positions[rank])])
            assert all(done[rank] <= done[other] + last / speeds[other] + 1e-9 for other in range(1, ranks))


def test_a_fast_rank_gets_more_and_a_slow_one_less() -> None:
    speeds = [1024, 2048, 1024, 512]
    counts = assign(np.arange(14), [0] * 4, np.full(14, 96), speeds).counts
    assert counts == [0, 8, 4, 2]


def test_much_work_is_dealt_out_first() -> None:
    assignment = assign(np.arange(5), [0] * 3, np.array([1, 1, 1, 1, 4]))
    assert assignment.positions == ((), (4,), (0, 1, 2, 3))


def test_one_client_for_each_rank_whichever_are_drawn() -> None:
    """10 client ranks and a cohort of 10."""
    for round in range(1, 20):
        assert assign(draw_cohort(0, round, 100, 10), [0] * 11).counts == [0] + [1] * 10


@given(layouts(), st.data())
def test_a_client_is_committed_where_it_is_needed_next(
    layout: tuple[list[int], int], data: st.DataObject
) -> None:
    node_of, clients = layout
    size = data.draw(st.integers(1, clients))
    now, following = (draw_cohort(1, round, clients, size) for round in (1, 2))
    run_now, run_next = assign(now, node_of), assign(following, node_of)
    commits = committing(now, run_now, following, run_next)
    assert sorted(commits.arrival_order) == list(range(size))
    for rank, positions in enumerate(commits.positions):
        assert list(positions) == sorted(positions)
        for position in positions:
            next_positions = np.flatnonzero(following == now[position])
            if next_positions.size:
                assert int(next_positions[0]) in run_next.positions[rank]
            else:
                assert position in run_now.positions[rank]
    nobody = committing(now, run_now, following[:0], assign(following[:0], node_of))
    assert nobody == run_now


@pytest.mark.parametrize(("kind", "p"), [("geometric", 0.3), ("fixed", 0.3), ("fixed", 1.0)])
def test_the_plan_of_a_round(kind: str, p: float) -> None:
    config = make_config(
        p=p,
        local_steps=kind,
        lr=0.125,
        clients=9,
        cohort=4,
        seed=3,
        server_step=0.5,
        lr_schedule="step",
        lr_decay_rounds=2,
        lr_decay_factor=0.5,
    )
    weights = np.linspace(0.2, 1.8, 9)
    model = FlatModel(torch.nn.Linear(2, 2))
    identity = build_compressor(None, model.layout)
    world = World(
        comm=cast(MPI.Intracomm, None), node=cast(MPI.Comm, None), node_of=(0, 0, 0), hosts=(), processes=()
    )
    setup = Setup(
        config=config,
        world=world,
        algorithm=ALGORITHMS["scaffnew"](),
        model=model,
        loss=cross_entropy,
        uplink=identity,
        downlink=identity,
        deployed=None,
        initial=model.vector,
        weights=weights,
        samples=np.array([5, 40, 7, 90, 3, 3, 64, 30, 31]),
    )
    for number in (1, 2, 40):
        plan = setup.plan(number)
        steps = local_steps(3, number, p, kind)
        assert (plan.round.number, plan.round.local_steps) == (number, steps)
        assert plan.round.stepsize == 0.125 / 2 ** ((number - 1) // 2)
        assert plan.round.server_step == 0.5
        assert plan.round.probability == (1 / steps if kind == "fixed" else p)
        assert (plan.round.clients, plan.round.cohort) == (9, 4)
        assert plan.weights.tolist() == weights[plan.cohort].tolist()
        assert plan.round.weight == pytest.approx(plan.weights.sum(), rel=1e-15)
        assert plan.cohort.tolist() == draw_cohort(3, number, 9, 4).tolist()
        assert plan.work.tolist() == [min(setup.samples[client], 32) + 32 for client in plan.cohort]
        assert plan.assignment == assign(plan.cohort, (0, 0, 0), plan.work)
        speeds = np.array([1024, 1024, 4096])
        assert setup.plan(number, speeds).assignment == assign(plan.cohort, (0, 0, 0), plan.work, speeds)
        repeatable = replace(setup, config=make_config(config, deterministic=True))
        assert repeatable.plan(number, speeds).assignment == plan.assignment, "measured speeds do not repeat"
        other = replace(setup, world=replace(world, node_of=(0,) * 11)).plan(number)
        assert other.round == plan.round
        assert other.cohort.tolist() == plan.cohort.tolist()


def test_clients_stay_on_their_node_when_ranks_are_lost() -> None:
    homes = [0, 0, 0, 1, 1]
    cohort = np.arange(12)
    before = assign(cohort, homes)
    after = assign(cohort, [0, 0, 1, 1], homes=homes)  # rank 2 is lost
    on_node_0 = {position for rank in (1, 2) for position in before.positions[rank]}
    assert set(after.positions[1]) == on_node_0
    assert after.counts == [0, 6, 3, 3]
