"""What an algorithm is to the rest of the program: three functions on vectors.

An algorithm knows nothing of MPI, bytes, ranks or data sets. All vectors are 1-D torch tensors of one dtype and one
length d; float32 in a run, any floating dtype in tests. A tuple of vectors (`Vectors`) stands where an algorithm sends
or stores more than one. The means that algorithms speak of may be weighted; see `Round.weight`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, TypeVar

from torch import Tensor

from fedcomloc_mpi.config import AlgorithmConfig

Vectors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Round:
    """The numbers of one round that all ranks share.

    number: from 1. local_steps: steps that every client of the cohort does before it communicates. stepsize: of those
    steps. probability: of communicating after a step (1 / local_steps when the number of steps is fixed). clients: all
    clients; cohort: the clients of this round. weight: the sum of the cohort's weights in the mean; over all clients
    they are 1 on average, so with a plain mean it is `cohort`. server_step: how far the model moves, 1 = onto the mean.
    """

    number: int
    local_steps: int
    stepsize: float
    probability: float
    clients: int
    cohort: int
    weight: float
    server_step: float = 1.0


class LocalProblem(Protocol):
    """What an algorithm may ask of the client that it runs on."""

    def gradient(self, model: Tensor) -> Tensor:
        """Return the gradient of the client's loss at `model` [d], over a minibatch drawn afresh for every call.

        The result [d] may be overwritten by the caller, and is by the next call.
        """

    def compress(self, model: Tensor) -> Tensor:
        """Return C(model) [d], decompressed; overwritten by the next call."""


_Local = TypeVar("_Local", bound=Callable[..., None])


def entrywise(local: _Local) -> _Local:
    """Mark a method `local` that works entry by entry but for `gradient` and `compress`.

    It may then be given several clients at once: `control`, `upload` and what the problem returns are [n, d], one row a
    client, while the vectors of `broadcast` stay [d]. No sums, norms or shapes of these may be in it.
    """
    marked: Any = local
    marked.entrywise = True
    return local


def runs_batched(algorithm: type["Algorithm"]) -> bool:
    """Say whether the `local` of an algorithm, its own or inherited, is marked as `entrywise`."""
    return bool(getattr(algorithm.local, "entrywise", False))


class Algorithm(ABC):
    """One federated learning method, as the functions that clients and server evaluate in a round.

    Class attributes say how many vectors of length d a client keeps between rounds (`control_vectors`, zero at first),
    the server keeps beside the model (`server_vectors`, zero at first), and what travels up from each client and down
    to all: `uplink_references` and `downlink_references` have an entry for each vector, the number of the vector of the
    last broadcast that it resembles, so that it may be coded against that one, or None if it resembles none. The first
    vector of a broadcast is always the model.
    """

    control_vectors: ClassVar[int] = 0
    server_vectors: ClassVar[int] = 0
    uplink_references: ClassVar[tuple[int | None, ...]] = (0,)
    downlink_references: ClassVar[tuple[int | None, ...]] = (0,)

    @classmethod
    def configured(cls, options: AlgorithmConfig) -> Self:
        """Return the algorithm with the `options` that it takes beside those in `Round`: none by default."""
        return cls()

    @property
    def uplink_vectors(self) -> int:
        """Vectors that travel up from each client."""
        return len(self.uplink_references)

    @property
    def downlink_vectors(self) -> int:
        """Vectors that travel down to all clients."""
        return len(self.downlink_references)

    @abstractmethod
    def local(
        self, round: Round, broadcast: Vectors, control: Vectors, problem: LocalProblem, upload: Vectors
    ) -> None:
        """Run one client's local steps from the last `broadcast`; write what travels into `upload`.

        `broadcast` and `control` are only read.
        """

    @abstractmethod
    def aggregate(
        self, round: Round, mean: Vectors, server: Vectors, before: Vectors, broadcast: Vectors
    ) -> None:
        """Compute on the server, from the `mean` of the uploads, what is broadcast, and update the `server` vectors.

        `before` is the broadcast that the round started from; `broadcast` is written. In a run `mean` and `server` are
        float64.
        """

    @abstractmethod
    def commit(
        self, round: Round, before: Vectors, after: Vectors, upload: Vectors, control: Vectors
    ) -> None:
        """Update a client's `control` vectors once the round's broadcast has arrived.

        `before` and `after` are the broadcasts that the round started from and ended with; `upload` is what travelled,
        after compression, and may be overwritten.
        """

    def step_server(self, round: Round, before: Vectors, after: Vectors) -> None:
        """Make the broadcast `after`, in place, what the next round starts from; every rank does so after its commits.

        The model moves from `before` by `server_step` times the difference. The operations are single and correctly
        rounded, so that all ranks get the same bits whatever processors they run on.
        """
        if round.server_step != 1.0:
            after[0].sub_(before[0]).mul_(round.server_step).add_(before[0])

    def add_to_control_sum(
        self, round: Round, mean: Vectors, before: Vectors, after: Vectors, total: Tensor
    ) -> None:
        """Add to `total` [d] what the commits of the round's cohort add to the weighted sum of all control variates.

        `mean` is that of the uploads, and may be overwritten; `before` and `after` are the broadcasts as for `commit`.
        Methods without control variates add nothing.
        """
