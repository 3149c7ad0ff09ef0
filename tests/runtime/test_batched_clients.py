"""How many clients a rank trains at once, and what is refused; test_invariance.py compares whole runs."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedcomloc_mpi.algorithms import ALGORITHMS, LocalProblem, Round, Vectors, runs_batched
from fedcomloc_mpi.algorithms.fedavg import FedAvg
from fedcomloc_mpi.config import make_config
from fedcomloc_mpi.errors import AgreedError
from fedcomloc_mpi.runtime.batched_clients import clients_at_once
from fedcomloc_mpi.runtime.devices import Devices, cpu_only
from fedcomloc_mpi.runtime.setup import Setup

GPU = Devices(torch.device("cuda:0"), ("cpu", "cuda:0 (Model)"))


class Normalised(FedAvg):
    """Its local steps need the norm of a whole gradient."""

    def local(
        self, round: Round, broadcast: Vectors, control: Vectors, problem: LocalProblem, upload: Vectors
    ) -> None:
        upload[0].copy_(broadcast[0])
        gradient: Tensor = problem.gradient(upload[0])
        upload[0].sub_(gradient / gradient.norm())


class Inherited(FedAvg):
    """Its local steps are FedAvg's."""


def setup(algorithm: Any, devices: Devices, **options: Any) -> Setup:
    nothing: Any = None
    return Setup(
        config=make_config(**options),
        world=nothing,
        algorithm=algorithm,
        model=nothing,
        loss=nothing,
        uplink=nothing,
        downlink=nothing,
        deployed=None,
        initial=nothing,
        weights=np.empty(0),
        samples=np.empty(0),
        devices=devices,
    )


def test_all_built_in_algorithms_run_batched() -> None:
    assert all(runs_batched(algorithm) for algorithm in ALGORITHMS.values())
    assert runs_batched(Inherited)
    assert not runs_batched(Normalised), "whoever writes local steps anew must mark them"


@pytest.mark.parametrize(
    ("algorithm", "devices", "asked", "expected"),
    [
        (FedAvg(), cpu_only(), None, 1),
        (FedAvg(), cpu_only(), 7, 7),
        (FedAvg(), GPU, None, None),
        (FedAvg(), GPU, 1, 1),
        (Normalised(), GPU, None, 1),
        (Normalised(), GPU, 1, 1),
        (Normalised(), cpu_only(), None, 1),
    ],
)
def test_clients_at_once(algorithm: Any, devices: Devices, asked: int | None, expected: int | None) -> None:
    assert clients_at_once(setup(algorithm, devices, client_batch=asked)) == expected


@pytest.mark.parametrize("devices", [cpu_only(), GPU])
def test_an_algorithm_that_is_not_marked_is_refused(devices: Devices) -> None:
    with pytest.raises(AgreedError, match=r"client_batch is 2: .*--client-batch 1") as error:
        clients_at_once(setup(Normalised(), devices, client_batch=2))
    assert "\n" not in str(error.value)
