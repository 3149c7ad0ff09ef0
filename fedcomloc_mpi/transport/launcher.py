"""What a launcher's environment says before MPI is initialised; imports no MPI."""

import os
from collections.abc import Mapping

_RANK_VARIABLES = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")


def launched_rank(environment: Mapping[str, str] = os.environ) -> int:
    """Return this process's rank as its launcher (MPICH, Intel MPI, Open MPI, srun) numbers it; 0 without one."""
    for variable in _RANK_VARIABLES:
        value = environment.get(variable, "")
        if value.isdigit():
            return int(value)
    return 0
