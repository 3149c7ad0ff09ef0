"""FedDyn (Acar et al., ICLR 2021, arXiv 2111.04263, Algorithm 1), its local problem solved by gradient steps."""

from typing import ClassVar, Self

from torch import Tensor

from fedcomloc_mpi.algorithms.base import Algorithm, LocalProblem, Round, Vectors, entrywise
from fedcomloc_mpi.config import AlgorithmConfig


class FedDyn(Algorithm):
    """Local steps on a loss with a linear term, learnt by each client, and a quadratic one around the server's model.

    The linear term is the paper's grad L_k(theta_k^t), kept as `lam`: at an exact local minimiser the two are equal.
    """

    control_vectors: ClassVar[int] = 1
    server_vectors: ClassVar[int] = 1

    def __init__(self, alpha: float) -> None:
        """`alpha`, above 0: the weight of the quadratic term; the model moves less in a round the larger it is."""
        self._alpha = alpha

    @classmethod
    def configured(cls, options: AlgorithmConfig) -> Self:
        return cls(options.feddyn_alpha)

    @entrywise
    def local(
        self, round: Round, broadcast: Vectors, control: Vectors, problem: LocalProblem, upload: Vectors
    ) -> None:
        (theta_server,), (lam,), (theta,) = broadcast, control, upload
        theta.copy_(theta_server)
        # theta_k <- argmin L_k(theta) - <lam, theta> + (alpha / 2) |theta - theta_server|^2
        for _ in range(round.local_steps):
            g = problem.gradient(theta).sub_(lam).add_(theta - theta_server, alpha=self._alpha)
            theta.add_(g, alpha=-round.stepsize)

    def aggregate(
        self, round: Round, mean: Vectors, server: Vectors, before: Vectors, broadcast: Vectors
    ) -> None:
        (mean_theta,), (h,) = mean, server
        # h <- h - (alpha / m) sum over the cohort of (theta_k - theta), m the number of all clients
        h.add_(self._moved(mean, before, h), alpha=-self._alpha * round.weight / round.clients)
        broadcast[0].copy_(mean_theta - h / self._alpha)  # theta <- mean of theta_k - h / alpha

    def commit(
        self, round: Round, before: Vectors, after: Vectors, upload: Vectors, control: Vectors
    ) -> None:
        (theta_server,), (theta,), (lam,) = before, upload, control
        lam.sub_(theta.sub_(theta_server), alpha=self._alpha)  # lam <- lam - alpha (theta_k - theta)

    def add_to_control_sum(
        self, round: Round, mean: Vectors, before: Vectors, after: Vectors, total: Tensor
    ) -> None:
        total.add_(self._moved(mean, before, total), alpha=-self._alpha * round.weight)

    @staticmethod
    def _moved(mean: Vectors, before: Vectors, like: Tensor) -> Tensor:
        """Return the mean of theta_k - theta, in the dtype of `like`."""
        return mean[0].to(like.dtype) - before[0].to(like.dtype)
