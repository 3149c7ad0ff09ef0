"""All ranks of a job must have been given the same configuration."""

import zlib

import numpy as np
from mpi4py import MPI

from fedcomloc_mpi.config import Config, to_flat
from fedcomloc_mpi.errors import AgreedError
from fedcomloc_mpi.transport.wait import wait_all
from fedcomloc_mpi.transport.world import World

# Folders may lie elsewhere on another host.
_LOCAL = ("data_dir", "out", "state_dir")


def refuse_different_configurations(world: World, config: Config) -> None:
    """Raise AgreedError on every rank, naming the options, unless all have the same; all ranks call this.

    Compares checksums of the values (MPI_Iallreduce of their minimum and maximum).
    """
    values = {name: value for name, value in to_flat(config).items() if name not in _LOCAL}
    mine = np.array([zlib.crc32(repr(value).encode()) for value in values.values()], dtype=np.int64)
    lowest, highest = np.empty_like(mine), np.empty_like(mine)
    comm = world.comm
    wait_all([comm.Iallreduce(mine, lowest, op=MPI.MIN), comm.Iallreduce(mine, highest, op=MPI.MAX)])
    different = [name for name, low, high in zip(values, lowest, highest, strict=True) if low != high]
    if different:
        raise AgreedError(
            f"the ranks were given different values of {', '.join(different)}: give every rank the same flags, and"
            " every host the same configuration file"
        )
