"""Networks, and the flat parameter vector that their layers view.

A new network is one file with a builder `(input_shape, classes) -> torch.nn.Module` and one line in
`BUILDERS`.
"""

from collections.abc import Callable

import torch

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.models.cnn import cnn
from fedcomloc_mpi.models.flat import FlatModel
from fedcomloc_mpi.models.logistic import logistic
from fedcomloc_mpi.models.mlp import mlp
from fedcomloc_mpi.models.state_file import load_state, state_bytes
from fedcomloc_mpi.randomness import Purpose, key

__all__ = ["BUILDERS", "FlatModel", "build", "build_own", "load_state", "state_bytes"]

BUILDERS: dict[str, Callable[[tuple[int, ...], int], torch.nn.Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    "logistic": logistic,
}


def build(name: str, input_shape: tuple[int, ...], classes: int, seed: int) -> torch.nn.Module:
    """Return the network `name`, float32 on the CPU, with its initial parameters drawn from `seed`.

    `input_shape` is the shape of one sample, such as (1, 28, 28). The global random state of torch is left as
    it was. Raises UserError for an unknown name or a shape that the network cannot take.
    """
    builder = BUILDERS.get(name)
    if builder is None:
        raise UserError(f"unknown model '{name}': the models are {', '.join(BUILDERS)}")
    return build_own(lambda: builder(input_shape, classes), seed)


def build_own(builder: Callable[[], torch.nn.Module], seed: int) -> torch.nn.Module:
    """Return what `builder` makes, on the CPU, with its initial parameters drawn from `seed`."""
    # The generator is seeded directly: torch.manual_seed would also reseed every GPU, which
    # fork_rng(devices=[]) does not restore.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(key(seed, Purpose.MODEL))
        return builder()
