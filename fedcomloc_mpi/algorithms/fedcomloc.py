"""FedComLoc-Com (arXiv 2403.09904, Algorithm 1) and Scaffnew (arXiv 2202.09357, Algorithm 2), its uncompressed case."""

from typing import ClassVar

from torch import Tensor

from fedcomloc_mpi.algorithms.base import Algorithm, LocalProblem, Round, Vectors


class FedComLocCom(Algorithm):
    """Local steps corrected by a control variate h_i; the local model travels compressed.

    Between `local` and `commit` the caller replaces the upload by what really travels, C(x_i) in place of x_i. The
    control variates are updated with that, so that with a plain mean their sum over all clients stays zero.
    """

    control_vectors: ClassVar[int] = 1

    def local(
        self, round: Round, broadcast: Vectors, control: Vectors, problem: LocalProblem, upload: Vectors
    ) -> None:
        (x_server,), (h,), (x,) = broadcast, control, upload
        x.copy_(x_server)
        for _ in range(round.local_steps):
            g = problem.gradient(x)
            x.add_(g.sub_(h), alpha=-round.stepsize)  # line 7: x_i <- x_i - gamma (g_i - h_i)

    def aggregate(
        self, round: Round, mean: Vectors, server: Vectors, before: Vectors, broadcast: Vectors
    ) -> None:
        broadcast[0].copy_(mean[0])  # line 10: x <- mean of the cohort's C(x_i)

    def commit(
        self, round: Round, before: Vectors, after: Vectors, upload: Vectors, control: Vectors
    ) -> None:
        (x,), (x_hat,), (h,) = after, upload, control
        h.sub_(
            x_hat.sub_(x), alpha=round.probability / round.stepsize
        )  # line 16: h_i += (p / gamma) (x - C(x_i))

    def add_to_control_sum(self, round: Round, mean: Vectors, after: Vectors, total: Tensor) -> None:
        change = (
            round.probability / round.stepsize * round.cohort
        )  # the commits' (p / gamma) (x - C(x_i)), summed
        total.add_(after[0].to(total.dtype) - mean[0], alpha=change)


class Scaffnew(FedComLocCom):
    """FedComLoc-Com without a compressor: what travels is the local model itself."""
