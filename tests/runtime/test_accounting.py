from typing import cast

import numpy as np
import torch
from pytest import approx
from torch.nn.functional import cross_entropy

from fedcomloc_mpi.algorithms import Algorithm, Round
from fedcomloc_mpi.algorithms.scaffnew import Scaffnew
from fedcomloc_mpi.compressors import build as build_compressor
from fedcomloc_mpi.config import DirectionConfig, make_config
from fedcomloc_mpi.models import FlatModel
from fedcomloc_mpi.runtime.accounting import Accounting
from fedcomloc_mpi.runtime.schedule import Assignment
from fedcomloc_mpi.runtime.setup import RoundPlan, Setup
from fedcomloc_mpi.transport.world import World


class SeveralVectors(Scaffnew):
    """A method that sends more than a model."""

    uplink_references = (0, None)
    downlink_references = (0, 1, None)


def setup(
    uplink: DirectionConfig | None, downlink: DirectionConfig | None, algorithm: Algorithm | None = None
) -> Setup:
    # 10 entries in 5 layers.
    model = FlatModel(
        torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1), torch.nn.Linear(1, 1, bias=False))
    )
    assert (model.layout.size, len(model.layout.sizes)) == (10, 5)
    return Setup(
        config=make_config(),
        world=cast(World, None),
        algorithm=algorithm or Scaffnew(),
        model=model,
        loss=cross_entropy,
        uplink=build_compressor(uplink, model.layout),
        downlink=build_compressor(downlink, model.layout),
        deployed=None,
        initial=model.vector,
        weights=np.ones(9),
        samples=np.full(9, 5),
    )


def plan(*cohort: int) -> RoundPlan:
    members = len(cohort)
    round = Round(
        number=1,
        local_steps=1,
        stepsize=1.0,
        probability=1.0,
        clients=9,
        cohort=members,
        weight=float(members),
    )
    return RoundPlan(
        round, np.array(cohort, dtype=np.int64), np.ones(members), np.ones(members), Assignment(())
    )


def test_uncompressed() -> None:
    up, down = Accounting(setup(None, None), 0, 72).close_round(plan(1, 4, 6), 210, 71, 71, (300, 900))
    assert up.to_dict() == {
        "paper_bytes": 120.0,
        "bound_bytes": 120.0,
        "payload_bytes": 210,
        "mpi_bytes": 300,
        "coders": {},
    }
    assert down.to_dict() == {
        "paper_bytes": 120.0,
        "bound_bytes": 120.0,
        "payload_bytes": 213,
        "mpi_bytes": 900,
        "device_bytes": 213 + 3 * 72,
        "coders": {},
    }


def test_topk_keeps_four_of_ten() -> None:
    compressed = setup(DirectionConfig(0.35, 32, "max", "own"), None)
    up, down = Accounting(compressed, 0, 0).close_round(plan(0, 1), 1, 1, 1, (0, 0))
    # C(10, 4) = 210.
    assert up.paper_bytes == 2 * 4 * 32 / 8
    assert up.bound_bytes == approx(2 * (np.log2(210) + 4 * 32) / 8, rel=1e-12)
    assert (down.paper_bytes, down.bound_bytes) == (80.0, 80.0)


def test_quantization_has_a_sign_and_scales() -> None:
    compressed = setup(DirectionConfig(1.0, 4, "max", "own"), DirectionConfig(0.5, 7, "max", "own"))
    up, down = Accounting(compressed, 0, 0).close_round(plan(0, 1), 1, 1, 1, (0, 0))
    assert up.paper_bytes == 2 * 10 * 4 / 8
    assert up.bound_bytes == approx(2 * (10 * 5 / 8 + 4 * 5), rel=1e-12)
    # C(10, 5) = 252.
    assert down.paper_bytes == 2 * 5 * 7 / 8
    assert down.bound_bytes == approx(2 * ((np.log2(252) + 5 * 8) / 8 + 4 * 5), rel=1e-12)


def test_all_vectors_that_travel_count() -> None:
    up, down = Accounting(setup(None, None, SeveralVectors()), 0, 0).close_round(plan(0, 1), 1, 1, 1, (0, 0))
    assert up.paper_bytes == up.bound_bytes == 2 * 2 * 40
    assert down.paper_bytes == down.bound_bytes == 2 * 3 * 40


def test_device_bytes_by_hand() -> None:
    """A newcomer takes the model of the round before on its own; who took part then holds it already."""
    accounting = Accounting(setup(None, None), 0, 72)
    device = []
    for cohort, downlink, alone in [
        ((1, 4, 6), 50, 60),  # all are new: 3 x 72
        ((1, 4, 7), 51, 61),  # 7 is new: 60
        ((1, 4, 7), 52, 62),  # nobody is new
        ((0, 2, 3), 53, 63),  # all are new: 3 x 62
        ((0, 1, 2), 54, 64),  # 1 was here before, but not in the last round: 63
    ]:
        _, down = accounting.close_round(plan(*cohort), 1, downlink, alone, (0, 0))
        assert down.payload_bytes == 3 * downlink
        assert down.device_bytes is not None
        device.append(down.device_bytes - down.payload_bytes)
    assert device == [3 * 72, 60, 0, 3 * 62, 63]
