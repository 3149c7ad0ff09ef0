"""Which processor each rank computes on: a GPU by its number among the ranks of its node, or the CPU."""

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.runtime.training_data import attempt
from fedcomloc_mpi.transport.world import World, texts_of_all_ranks

CPU = "cpu"
# Without it cuBLAS may choose among its workspaces by what else runs (NVIDIA, cuBLAS: results reproducibility).
_CUBLAS_WORKSPACE = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


@dataclass(frozen=True)
class Devices:
    """What the ranks compute on.

    mine: this rank's device; of_rank: every rank's, such as "cpu" or "cuda:1 (NVIDIA H100)".
    """

    mine: torch.device
    of_rank: tuple[str, ...]

    @property
    def on_gpu(self) -> bool:
        """Whether this rank computes on a GPU."""
        return self.mine.type != CPU

    @property
    def gpu_ranks(self) -> int:
        """How many ranks do."""
        return sum(name != CPU for name in self.of_rank)


def cpu_only(ranks: int = 1) -> Devices:
    """Return the devices of `ranks` ranks without GPUs."""
    return Devices(torch.device(CPU), (CPU,) * ranks)


def choose_devices(world: World, asked: str, deterministic: bool) -> Devices:
    """Return what each rank computes on, for --device `asked`, and prepare torch for it; all ranks call this.

    The ranks of a node take its GPUs in turn, and share them if they are more. A launcher that shows each rank a GPU of
    its own has decided already. Raises UserError on all ranks alike if "cuda" is asked for and some rank sees no GPU.
    """
    count = torch.cuda.device_count() if asked != CPU and torch.cuda.is_available() else 0

    def check() -> None:
        if asked == "cuda" and not count:
            built = (
                "" if torch.version.cuda else f", which is built without CUDA (version {torch.__version__})"
            )
            raise UserError(
                f"--device cuda: {world.name(world.rank)} sees no GPU through torch{built}; --device auto uses the CPU"
                " where there is none"
            )

    attempt(world, check)
    mine, name = torch.device(CPU), CPU
    if count:
        mine = torch.device("cuda", gpu_of(world.node.rank, count))
        _prepare_gpu(mine, deterministic)
        name = f"{mine} ({torch.cuda.get_device_name(mine)})"
    return Devices(mine, texts_of_all_ranks(world.comm, name))


def gpu_of(rank_on_node: int, gpus: int) -> int:
    """Return the number of the GPU of a rank, by its number on its node; `gpus`: how many it sees."""
    return rank_on_node % gpus


def _prepare_gpu(device: torch.device, deterministic: bool) -> None:
    torch.cuda.set_device(device)
    # Products of float32 in float32: results are to agree with those of a CPU.
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    if deterministic:
        os.environ |= {name: value for name, value in _CUBLAS_WORKSPACE.items() if name not in os.environ}
        torch.backends.cudnn.benchmark = False
        # Where torch has no deterministic algorithm it warns, and names the operation.
        torch.use_deterministic_algorithms(True, warn_only=True)


def on_device(module: nn.Module, device: torch.device) -> nn.Module:
    """Return a copy of `module` on `device`; the module itself, which may be the user's, stays where it is."""
    return copy.deepcopy(module).to(device)


@contextmanager
def enough_memory(device: torch.device) -> Iterator[None]:
    """Raise UserError in place of torch's error when the memory of `device` does not suffice."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the memory of {device} does not suffice: start fewer ranks for each GPU, give a smaller --client-batch"
            " or --device cpu"
        ) from error
