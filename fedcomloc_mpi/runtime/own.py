"""The model of a run, the user's own or a built-in one, and what a program may pass to `run`."""

import zlib
from collections.abc import Callable

import numpy as np
import torch

from fedcomloc_mpi.config import Config
from fedcomloc_mpi.data import Dataset
from fedcomloc_mpi.errors import AgreedError, UserError
from fedcomloc_mpi.models import FlatModel, build, build_own
from fedcomloc_mpi.runtime.training_data import TrainingData, attempt
from fedcomloc_mpi.transport.world import SERVER, World

OwnModel = torch.nn.Module | Callable[[], torch.nn.Module]
OwnDataset = Dataset | Callable[[], Dataset]


def check_own(config: Config, model: OwnModel | None, dataset: OwnDataset | None) -> None:
    """Raise AgreedError unless what is passed is what the configuration calls "own"."""
    for name, passed in (("model", model), ("dataset", dataset)):
        configured = getattr(config.data, name)
        if (configured == "own") != (passed is not None):
            what = "is passed" if passed is not None else "is not passed"
            raise AgreedError(
                f"{name} is {configured!r} in the configuration, but {name}=... {what} to run()"
            )


def build_model(world: World, config: Config, data: TrainingData, own: OwnModel | None) -> FlatModel:
    """Return the model with its initial parameters, alike on all ranks; all ranks must call this. Raises UserError."""
    models: list[FlatModel] = []

    def prepare() -> None:
        if own is None:
            module = build(config.data.model, data.input_shape, data.classes, config.algorithm.seed)
        elif isinstance(own, torch.nn.Module):
            module = own
        else:
            module = build_own(own, config.algorithm.seed)
        if not isinstance(module, torch.nn.Module):
            raise UserError(f"model is {type(module).__name__}: it must be a torch.nn.Module, or make one")
        models.append(FlatModel(module))

    attempt(world, prepare)
    (model,) = models
    if own is not None:
        _share_parameters(world, model)
    return model


def _share_parameters(world: World, model: FlatModel) -> None:
    """Give the user's module the parameters that it has on the server, if it has the same structure there."""
    sizes = repr(model.layout.sizes).encode()
    mine = np.array([model.layout.size, zlib.crc32(sizes)], dtype=np.int64)
    servers = mine.copy()
    world.broadcast(servers)

    def compare() -> None:
        if model.dtype != torch.float32 or model.device.type != "cpu":
            raise UserError(f"the model is {model.dtype} on {model.device}: it must be float32 on the CPU")
        if not np.array_equal(mine, servers):
            raise UserError(
                f"the model has {servers[0]} parameters on rank {SERVER} and {mine[0]} on rank {world.rank}, or"
                " tensors of other sizes: it must be built alike on all ranks"
            )

    attempt(world, compare)
    world.broadcast(model.vector.numpy())
