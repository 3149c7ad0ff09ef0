"""The methods, by the names that `--algorithm` takes.

A new one is a file with a class and a call of `register_algorithm`; see docs/extending.md.
"""

from fedcomloc_mpi.algorithms.base import Algorithm, LocalProblem, Round, Vectors, entrywise, runs_batched
from fedcomloc_mpi.algorithms.fedavg import FedAvg, SparseFedAvg
from fedcomloc_mpi.algorithms.fedcomloc import FedComLocCom, FedComLocGlobal, FedComLocLocal
from fedcomloc_mpi.algorithms.feddyn import FedDyn
from fedcomloc_mpi.algorithms.scaffnew import Scaffnew
from fedcomloc_mpi.algorithms.scaffold import Scaffold
from fedcomloc_mpi.algorithms.stepsize import stepsize
from fedcomloc_mpi.config import METHODS, Method

ALGORITHMS: dict[str, type[Algorithm]] = {
    "fedcomloc-com": FedComLocCom,
    "fedcomloc-local": FedComLocLocal,
    "fedcomloc-global": FedComLocGlobal,
    "scaffnew": Scaffnew,
    "fedavg": FedAvg,
    "sparsefedavg": SparseFedAvg,
    "scaffold": Scaffold,
    "feddyn": FedDyn,
}


def register_algorithm(name: str, algorithm: type[Algorithm], method: Method) -> None:
    """Make `algorithm` available as `--algorithm name`; `method` says which flags apply to it.

    Call it on every rank, before the configuration is made. Raises ValueError for a name that is taken.
    """
    if name in METHODS:
        raise ValueError(f"there is an algorithm {name!r} already")
    METHODS[name] = method
    ALGORITHMS[name] = algorithm


__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "LocalProblem",
    "Round",
    "Vectors",
    "entrywise",
    "register_algorithm",
    "runs_batched",
    "stepsize",
]
