"""What a launcher's environment says before MPI is initialised; imports no MPI."""

import os
from collections.abc import Mapping, MutableMapping, Sequence

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


def prepare_for_losses(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let MPI_Finalize return though a rank has died; to be called before MPI is initialised.

    Open MPI 5 waits there for all processes, and after a loss, one time in ten or so, for ever. Ranks that go on after
    losses meet on their own before they end.
    """
    environment.setdefault("OMPI_MCA_async_mpi_finalize", "1")


def _number(variables: Sequence[str], environment: Mapping[str, str], default: int) -> int:
    for variable in variables:
        value = environment.get(variable, "")
        if value.isdigit():
            return int(value)
    return default
