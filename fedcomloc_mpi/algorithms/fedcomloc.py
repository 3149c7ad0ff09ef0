"""FedComLoc: Scaffnew with a compressed model (Yi et al., TMLR 2025, arXiv 2403.09904, Algorithm 1).

The three variants of the algorithm differ in where C acts. What is not repeated here is Scaffnew's.
"""

from fedcomloc_mpi.algorithms.base import LocalProblem, Round, Vectors, entrywise
from fedcomloc_mpi.algorithms.scaffnew import Scaffnew


class FedComLocCom(Scaffnew):
    """FedComLoc-Com: the local model travels compressed.

    Between `local` and `commit` the caller replaces the upload by what really travels: xhat_i <- C(xhat_i). The mean
    and the control variates are computed from that, so the sum of all control variates stays zero.
    """


class FedComLocLocal(Scaffnew):
    """FedComLoc-Local: gradients are taken at the compressed model, while the local model itself stays as it is."""

    @entrywise
    def local(
        self, round: Round, broadcast: Vectors, control: Vectors, problem: LocalProblem, upload: Vectors
    ) -> None:
        (x_server,), (h,), (x,) = broadcast, control, upload
        x.copy_(x_server)
        for _ in range(round.local_steps):
            g = problem.gradient(problem.compress(x))  # g_i <- grad f_i(C(x_i))
            x.add_(g.sub_(h), alpha=-round.stepsize)  # xhat_i <- x_i - gamma (g_i - h_i)


class FedComLocGlobal(Scaffnew):
    """FedComLoc-Global: the server compresses the mean, and everyone goes on from that.

    Between `aggregate` and `commit` the caller replaces the broadcast by what really travels: x <- C(mean of xhat_i).
    The control variates are updated with x, not with the mean, so their sum drifts by what C takes away.
    """
