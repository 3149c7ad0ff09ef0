import math
from dataclasses import replace
from itertools import product

import pytest

from bench.network_model import Load, Model

SMALL = Load("collectives", 4, 1e6, 2e6, 1e6, 1e7, math.inf, 0.0, 0.1)


def test_fit_finds_the_constants_of_rounds_that_follow_the_model() -> None:
    loads = [
        replace(SMALL, uplink=size, up=up, down=10 * up, delay=delay)
        for size, up, delay in product((1e3, 1e5, 1e6), (1e6, 1e7, 1e8), (0.0, 0.025))
    ]
    true = Model((0.01, 1.05, 0.8, 1.5, 0.3))
    model = Model.fit(loads, [true.seconds(load) for load in loads])
    assert model.constants == pytest.approx(true.constants)


def test_constants_are_not_negative() -> None:
    model = Model.fit([SMALL, replace(SMALL, up=1e7)], [0.05, 0.05])  # less than the work alone
    assert min(model.constants) >= 0


def test_the_narrowest_link_counts() -> None:
    alone = Load("p2p", 4, 1e6, 0, 8e6, 8e6, math.inf, 0.0, 0.0)
    assert alone.terms()[1] == pytest.approx(1)
    shared = replace(alone, server=16e6)  # for the uploads of all
    assert shared.terms()[1] == pytest.approx(2)
    assert replace(shared, clients=1_000).terms()[1] == pytest.approx(500)


def test_only_collectives_relay() -> None:
    assert SMALL.terms()[2] == pytest.approx(16)
    assert replace(SMALL, exchange="p2p").terms()[2] == 0
