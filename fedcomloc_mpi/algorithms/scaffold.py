"""Scaffold, option II (Karimireddy et al., ICML 2020, arXiv 1910.06378, Algorithm 1)."""

from typing import ClassVar

from torch import Tensor

from fedcomloc_mpi.algorithms.base import Algorithm, LocalProblem, Round, Vectors, entrywise


class Scaffold(Algorithm):
    """Local steps corrected by c - c_i: the mean direction of all clients less this client's own.

    Up travel y_i, in place of its difference to x, which the server then takes, and the change of c_i; down travel x
    and c. A change resembles nothing that both ends hold.
    """

    control_vectors: ClassVar[int] = 1
    server_vectors: ClassVar[int] = 1
    uplink_references: ClassVar[tuple[int | None, ...]] = (0, None)
    downlink_references: ClassVar[tuple[int | None, ...]] = (0, 1)

    @entrywise
    def local(
        self, round: Round, broadcast: Vectors, control: Vectors, problem: LocalProblem, upload: Vectors
    ) -> None:
        (x, c), (c_i,), (y, delta_c) = broadcast, control, upload
        y.copy_(x)  # line 7
        for _ in range(round.local_steps):
            g = problem.gradient(y)  # line 9
            y.add_(g.sub_(c_i).add_(c), alpha=-round.stepsize)  # line 10: y_i <- y_i - eta_l (g_i - c_i + c)
        # lines 12 and 13: c_i+ - c_i, where c_i+ = c_i - c + (x - y_i) / (K eta_l)
        delta_c.copy_(x).sub_(y).div_(round.local_steps * round.stepsize).sub_(c)

    def aggregate(
        self, round: Round, mean: Vectors, server: Vectors, before: Vectors, broadcast: Vectors
    ) -> None:
        (mean_y, mean_delta_c), (c,) = mean, server
        c.add_(mean_delta_c, alpha=round.weight / round.clients)  # line 17: c <- c + (|S| / N) delta c
        broadcast[0].copy_(mean_y)  # line 17: x <- x + eta_g delta x, the second half of it in step_server
        broadcast[1].copy_(c)

    def commit(
        self, round: Round, before: Vectors, after: Vectors, upload: Vectors, control: Vectors
    ) -> None:
        control[0].add_(upload[1])  # line 14: c_i <- c_i+

    def add_to_control_sum(
        self, round: Round, mean: Vectors, before: Vectors, after: Vectors, total: Tensor
    ) -> None:
        total.add_(mean[1], alpha=round.weight)
