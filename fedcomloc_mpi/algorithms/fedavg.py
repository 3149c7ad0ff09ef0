"""FedAvg (McMahan et al., AISTATS 2017, arXiv 1602.05629, Algorithm 1) and sparseFedAvg."""

from fedcomloc_mpi.algorithms.base import Algorithm, LocalProblem, Round, Vectors, entrywise


class FedAvg(Algorithm):
    """Local steps, then the mean of the local models; nobody keeps anything between rounds."""

    @entrywise
    def local(
        self, round: Round, broadcast: Vectors, control: Vectors, problem: LocalProblem, upload: Vectors
    ) -> None:
        (w_server,), (w,) = broadcast, upload
        w.copy_(w_server)
        for _ in range(round.local_steps):
            w.add_(problem.gradient(w), alpha=-round.stepsize)  # ClientUpdate: w <- w - eta grad l(w; b)

    def aggregate(
        self, round: Round, mean: Vectors, server: Vectors, before: Vectors, broadcast: Vectors
    ) -> None:
        broadcast[0].copy_(mean[0])  # w_(t+1) <- sum over the cohort of (n_k / n) w^k_(t+1)

    def commit(
        self, round: Round, before: Vectors, after: Vectors, upload: Vectors, control: Vectors
    ) -> None:
        """Nothing is kept."""


class SparseFedAvg(FedAvg):
    """FedAvg whose local models travel compressed, as FedComLoc-Com's do: the caller puts C(w) in place of w."""
