"""What a launcher's environment says before MPI is initialised; imports no MPI."""

import os
from collections.abc import Mapping, Sequence

_RANK_VARIABLES = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
_LOCAL_RANK_VARIABLES = ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID")


def launched_rank(environment: Mapping[str, str] = os.environ) -> int:
    """Return this process's rank as its launcher (MPICH, Intel MPI, Open MPI, srun) numbers it; 0 without one."""
    return _number(_RANK_VARIABLES, environment, 0)


def launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether a launcher has started this process, and so perhaps others with it."""
    return any(environment.get(variable, "").isdigit() for variable in _RANK_VARIABLES)


def first_on_host(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether this process is the first that its launcher started on this host, as far as it says."""
    return _number(_LOCAL_RANK_VARIABLES, environment, launched_rank(environment)) == 0


def _number(variables: Sequence[str], environment: Mapping[str, str], default: int) -> int:
    for variable in variables:
        value = environment.get(variable, "")
        if value.isdigit():
            return int(value)
    return default
