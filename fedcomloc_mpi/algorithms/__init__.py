"""The methods, by the names that `--algorithm` takes."""

from fedcomloc_mpi.algorithms.base import Algorithm, LocalProblem, Round, Vectors
from fedcomloc_mpi.algorithms.fedcomloc import FedComLocCom, Scaffnew

ALGORITHMS: dict[str, type[Algorithm]] = {
    "fedcomloc-com": FedComLocCom,
    "scaffnew": Scaffnew,
}

__all__ = ["ALGORITHMS", "Algorithm", "LocalProblem", "Round", "Vectors"]
