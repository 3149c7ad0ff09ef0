"""What the runtime does around an algorithm, in one process and for any floating dtype."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fedcomloc_mpi.algorithms import Algorithm, Round, Vectors

Gradient = Callable[[np.ndarray], np.ndarray]
Compress = Callable[[np.ndarray], np.ndarray]


def identity(x: np.ndarray) -> np.ndarray:
    return x


class Problem:
    """The clients of one call of `local`, with their gradients; counts the steps."""

    def __init__(self, gradient: Gradient, compress: Compress = identity) -> None:
        self._gradient, self._compress = gradient, compress
        self.calls = 0

    def gradient(self, model: Tensor) -> Tensor:
        self.calls += 1
        # A copy: the caller may overwrite it, and whoever computed it may keep it.
        return torch.from_numpy(np.array(self._gradient(model.numpy()))).to(model.dtype)

    def compress(self, model: Tensor) -> Tensor:
        return torch.from_numpy(np.array(self._compress(model.numpy())))


class Federation:
    """All clients and the server of one algorithm, with model size `size`, `weights` of the clients in the mean.

    uplink, downlink: what compresses what travels; local: what methods that ask for it take gradients at.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        initial: np.ndarray,
        weights: Sequence[float],
        *,
        uplink: Compress = identity,
        downlink: Compress = identity,
        local: Compress = identity,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.algorithm, self.dtype = algorithm, dtype
        self.weights = np.array(weights, dtype=np.float64)
        self.uplink, self.downlink, self.local = uplink, downlink, local
        clients, size = len(weights), initial.size
        self.broadcast = tuple(torch.zeros(size, dtype=dtype) for _ in range(algorithm.downlink_vectors))
        self.broadcast[0].copy_(torch.from_numpy(initial))
        self.control = torch.zeros(clients, algorithm.control_vectors, size, dtype=dtype)
        self.server = tuple(torch.zeros(size, dtype=torch.float64) for _ in range(algorithm.server_vectors))
        self.control_sum = torch.zeros(size, dtype=torch.float64)

    @property
    def model(self) -> np.ndarray:
        """The model x, [d]."""
        return self.broadcast[0].numpy()

    def numbers(
        self,
        cohort: Sequence[int],
        local_steps: int,
        stepsize: float,
        p: float,
        server_step: float = 1.0,
        number: int = 1,
    ) -> Round:
        """The numbers of a round with this cohort."""
        return Round(
            number=number,
            local_steps=local_steps,
            stepsize=stepsize,
            probability=p,
            clients=len(self.weights),
            cohort=len(cohort),
            weight=float(self.weights[list(cohort)].sum()),
            server_step=server_step,
        )

    def round(self, numbers: Round, cohort: Sequence[int], gradient_of: Callable[[int], Gradient]) -> None:
        """One round, client by client."""
        uploads = []
        for client in cohort:
            problem = Problem(gradient_of(client), self.local)
            upload = self._local(numbers, self.broadcast, tuple(self.control[client]), problem)
            uploads.append(tuple(self._compressed(self.uplink, vector) for vector in upload))
        after = self._serve(numbers, cohort, uploads)
        for client, upload in zip(cohort, uploads, strict=True):
            control = tuple(self.control[client])
            self.algorithm.commit(numbers, self.broadcast, after, upload, control)
        self._end(numbers, after)

    def lockstep_round(self, numbers: Round, cohort: Sequence[int], gradient: Gradient) -> None:
        """One round without compression, all clients of the cohort at once as one long vector, which is much faster.

        `gradient` maps the cohort's models, one after the other, to their gradients. An algorithm's local steps work
        entry by entry but for the gradient, so this is the same as `round`; a test compares the two.
        """
        members, count = list(cohort), len(cohort)
        started = tuple(vector.repeat(count) for vector in self.broadcast)
        control = [
            self.control[members, vector].reshape(-1) for vector in range(self.algorithm.control_vectors)
        ]
        upload = self._local(numbers, started, tuple(control), Problem(gradient))
        uploads = list(zip(*(vector.reshape(count, -1) for vector in upload), strict=True))
        after = self._serve(numbers, cohort, [tuple(v.clone() for v in vectors) for vectors in uploads])
        self.algorithm.commit(
            numbers, started, tuple(vector.repeat(count) for vector in after), upload, tuple(control)
        )
        for vector, values in enumerate(control):
            self.control[members, vector] = values.reshape(count, -1)
        self._end(numbers, after)

    def _local(self, numbers: Round, broadcast: Vectors, control: Vectors, problem: Problem) -> Vectors:
        given = [vector.clone() for vector in (*broadcast, *control)]
        upload = tuple(torch.full_like(broadcast[0], torch.nan) for _ in range(self.algorithm.uplink_vectors))
        self.algorithm.local(numbers, broadcast, control, problem, upload)
        assert problem.calls == numbers.local_steps
        held = (*broadcast, *control)
        assert all(torch.equal(a, b) for a, b in zip(given, held, strict=True)), "only read in local"
        return upload

    def _serve(self, numbers: Round, cohort: Sequence[int], uploads: list[Vectors]) -> Vectors:
        weights = self.weights[list(cohort)].tolist()
        mean = tuple(
            sum(w * vector.double() for w, vector in zip(weights, vectors, strict=True)) / numbers.weight
            for vectors in zip(*uploads, strict=True)
        )
        after = tuple(torch.full_like(vector, torch.nan) for vector in self.broadcast)
        self.algorithm.aggregate(numbers, mean, self.server, self.broadcast, after)
        after = tuple(self._compressed(self.downlink, vector) for vector in after)
        self.algorithm.add_to_control_sum(numbers, mean, self.broadcast, after, self.control_sum)
        return after

    def _end(self, numbers: Round, after: Vectors) -> None:
        self.algorithm.step_server(numbers, self.broadcast, after)
        self.broadcast = after

    @staticmethod
    def _compressed(compress: Compress, vector: Tensor) -> Tensor:
        return torch.from_numpy(np.array(compress(vector.numpy()), dtype=vector.numpy().dtype))
