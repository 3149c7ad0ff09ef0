"""The state file of a checkpoint: what the server holds, and which other files belong to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.runtime.checkpoint.container import (
    ContainerWriter,
    DamagedFile,
    FileRef,
    open_container,
)
from fedcomloc_mpi.runtime.checkpoint.names import is_rows_name, state_name

Chains = Mapping[int, Sequence[FileRef]]
_LARGEST = 2**63 - 1


class Sizes(NamedTuple):
    """What the arrays of a checkpoint come to; size: d, entries of the model."""

    clients: int
    size: int
    client_vectors: int
    server_vectors: int
    broadcast_vectors: int


@dataclass(frozen=True)
class ServerState:
    """What the server's next round depends on.

    round: the last one completed. broadcast: float32 [vectors, d], what every rank goes on from; server_vectors:
    float64 [vectors, d]; control_sum: float64 [d], or empty; model_bytes: size of the model coded on its own.
    """

    round: int
    broadcast: np.ndarray
    server_vectors: np.ndarray
    control_sum: np.ndarray
    model_bytes: int


@dataclass(frozen=True)
class SavedState:
    """A state file that has been read.

    chains: each node's files with rows, oldest first; shape: what the job was, for `check_shape`; coders: the names of
    those that the job wrote messages with.
    """

    state: ServerState
    chains: Chains
    shape: dict[str, Any]
    coders: tuple[str, ...]
    sizes: Sizes


class StateWriter:
    """Writes one state file, which appears when it is finished."""

    def __init__(
        self, folder: Path, state: ServerState, shape: Mapping[str, Any], coders: Sequence[str] = ()
    ) -> None:
        """`shape`: what a job that resumes must have in common, for `check_shape`."""
        self._state, self._shape, self._coders = state, shape, coders
        self._file = ContainerWriter(folder / state_name(state.round))
        self._file.add("broadcast", state.broadcast)
        self._file.add("server_vectors", state.server_vectors)
        self._file.add("control_sum", state.control_sum)

    def finish(self, chains: Chains) -> None:
        """Make the file appear, and with it the checkpoint."""
        self._file.finish(
            {
                "round": self._state.round,
                "model_bytes": self._state.model_bytes,
                "shape": self._shape,
                "coders": list(self._coders),
                "files": {node: [list(file) for file in files] for node, files in chains.items()},
            }
        )

    def discard(self) -> None:
        """Remove what has been written."""
        self._file.discard()


def read_state(path: Path) -> SavedState:
    """Read a state file. Raises DamagedFile unless it is whole, of the round in its name, and agrees with itself."""
    container = open_container(path)
    facts = container.facts
    try:
        sizes = _sizes(facts["shape"])
        container.require("broadcast", np.float32, sizes.broadcast_vectors, sizes.size)
        container.require("server_vectors", np.float64, sizes.server_vectors, sizes.size)
        container.require("control_sum", np.float64, sizes.size if sizes.client_vectors else 0)
        state = ServerState(
            round=_count(facts["round"]),
            broadcast=container.array("broadcast"),
            server_vectors=container.array("server_vectors"),
            control_sum=container.array("control_sum"),
            model_bytes=_count(facts["model_bytes"]),
        )
        chains = {
            int(node): [FileRef(_rows(name), _count(size), _count(crc)) for name, size, crc in files]
            for node, files in facts["files"].items()
        }
        shape, coders = dict(facts["shape"]), tuple(map(str, facts["coders"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedFile(f"{path.name} is damaged") from error
    if state_name(state.round) != path.name:
        raise DamagedFile(f"{path.name} is damaged: it is of round {state.round}")
    return SavedState(state, chains, shape, coders, sizes)


def _sizes(shape: Mapping[str, Any]) -> Sizes:
    return Sizes(
        clients=_count(shape["clients"]),
        size=sum(map(_count, shape["layers"])),
        client_vectors=_count(shape["client vectors"]),
        server_vectors=_count(shape["server vectors"]),
        broadcast_vectors=_count(shape["broadcast vectors"]),
    )


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise ValueError
    return value


def _rows(name: Any) -> str:
    if not is_rows_name(name):
        raise ValueError
    return str(name)


def check_shape(saved: Mapping[str, Any], here: Mapping[str, Any], folder: Path) -> None:
    """Raise UserError if a job that is `here` cannot go on from what was `saved`."""
    for name, value in here.items():
        if saved.get(name) != value:
            raise UserError(
                f"--resume {folder}: its checkpoints are of a job with {name} {saved.get(name)}, this one has {value}"
            )
