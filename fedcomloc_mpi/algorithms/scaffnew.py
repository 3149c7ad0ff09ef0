"""Scaffnew, also called ProxSkip (Mishchenko et al., ICML 2022, arXiv 2202.09357, Algorithm 2)."""

from typing import ClassVar

from torch import Tensor

from fedcomloc_mpi.algorithms.base import Algorithm, LocalProblem, Round, Vectors, entrywise


class Scaffnew(Algorithm):
    """Local steps corrected by a control variate h_i, which learns the client's gradient at the common minimiser.

    The coins theta_t are flipped ahead of time: a round is the local steps up to the first with theta_t = 1, the one
    that communicates. With a partial cohort the mean is over the cohort, and the others keep their h_i.
    """

    control_vectors: ClassVar[int] = 1

    @entrywise
    def local(
        self, round: Round, broadcast: Vectors, control: Vectors, problem: LocalProblem, upload: Vectors
    ) -> None:
        (x_server,), (h,), (x,) = broadcast, control, upload
        x.copy_(x_server)
        for _ in range(round.local_steps):
            g = problem.gradient(x)
            x.add_(g.sub_(h), alpha=-round.stepsize)  # xhat_i <- x_i - gamma (g_i - h_i)

    def aggregate(
        self, round: Round, mean: Vectors, server: Vectors, before: Vectors, broadcast: Vectors
    ) -> None:
        broadcast[0].copy_(mean[0])  # x_i <- mean of xhat_i, the same for all

    def commit(
        self, round: Round, before: Vectors, after: Vectors, upload: Vectors, control: Vectors
    ) -> None:
        (x,), (x_hat,), (h,) = after, upload, control
        # h_i <- h_i + (p / gamma) (x_i - xhat_i)
        h.sub_(x_hat.sub_(x), alpha=round.probability / round.stepsize)

    def add_to_control_sum(
        self, round: Round, mean: Vectors, before: Vectors, after: Vectors, total: Tensor
    ) -> None:
        total.sub_(mean[0].sub_(after[0]), alpha=round.probability / round.stepsize * round.weight)
