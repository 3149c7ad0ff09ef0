"""Which device a rank gets, without one and with made-up ones."""

import dataclasses
import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mpi4py import MPI

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.runtime.devices import choose_devices, cpu_only, enough_memory, gpu_of, on_device
from fedcomloc_mpi.transport.world import World
from tests.transport.worlds import world_of


def world(rank_on_node: int = 0) -> World:
    """A world of this process alone, which believes that other ranks of its node come before it."""
    node: Any = SimpleNamespace(rank=rank_on_node)
    return dataclasses.replace(world_of(MPI.COMM_SELF), node=node)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Make torch believe that it sees two GPUs; return what it is told to use and how."""
    told: list[object] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Model {device.index}")
    monkeypatch.setattr(torch.cuda, "set_device", told.append)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", told.append)
    monkeypatch.setattr(
        torch, "use_deterministic_algorithms", lambda mode, warn_only: told.append((mode, warn_only))
    )
    cudnn: Any = SimpleNamespace(allow_tf32=True, benchmark=True)
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    return told


def test_ranks_of_a_node_take_its_gpus_in_turn_and_share_them() -> None:
    assert [gpu_of(rank, 4) for rank in range(11)] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2]
    assert [gpu_of(rank, 1) for rank in range(3)] == [0, 0, 0]
    for ranks in range(1, 20):
        for gpus in range(1, 9):
            clients = [gpu_of(rank, gpus) for rank in range(1, ranks)]
            counts = [clients.count(gpu) for gpu in range(gpus)]
            assert max(counts) - min(counts) <= 1, (
                "a node's clients are spread evenly, whoever is its first rank"
            )


@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("asked", ["auto", "cuda"])
def test_a_gpu_is_used_where_there_is_one(two_gpus: list[object], asked: str, rank: int) -> None:
    chosen = choose_devices(world(rank), asked, deterministic=False)
    assert chosen.mine == torch.device("cuda", rank % 2)
    assert chosen.of_rank == (f"cuda:{rank % 2} (Model {rank % 2})",)
    assert chosen.on_gpu and chosen.gpu_ranks == 1
    assert two_gpus == [chosen.mine, "highest"]
    assert not torch.backends.cudnn.allow_tf32
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_the_cpu_is_used_if_asked_for(two_gpus: list[object]) -> None:
    assert choose_devices(world(), "cpu", deterministic=True) == cpu_only()
    assert two_gpus == []


def test_deterministic_algorithms(two_gpus: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    choose_devices(world(), "auto", deterministic=True)
    assert (True, True) in two_gpus, "deterministic, with a warning where torch has no such algorithm"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.backends.cudnn.benchmark
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":16:8"
    choose_devices(world(), "auto", deterministic=True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8", "the user's choice stays"


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_devices(world(), "auto", deterministic=False) == cpu_only()
    with pytest.raises(UserError, match=r"--device cuda: rank 0, .* sees no GPU through torch") as error:
        choose_devices(world(), "cuda", deterministic=False)
    assert "\n" not in str(error.value)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(UserError, match="built without CUDA"):
        choose_devices(world(), "cuda", deterministic=False)


def test_too_little_memory_is_said_in_one_line() -> None:
    message = r"memory of cuda:1 .*fewer ranks.*--client-batch"
    with pytest.raises(UserError, match=message) as error, enough_memory(torch.device("cuda:1")):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")
    assert "\n" not in str(error.value)


def test_the_users_module_stays_where_it_is() -> None:
    module = torch.nn.Linear(2, 3)
    there = on_device(module, torch.device("meta"))
    assert {parameter.device.type for parameter in there.parameters()} == {"meta"}
    assert {parameter.device.type for parameter in module.parameters()} == {"cpu"}
