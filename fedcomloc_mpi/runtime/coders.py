"""Which coders the ranks of a job write with: agreed on once, at the start."""

from dataclasses import replace

import numpy as np
from mpi4py import MPI

from fedcomloc_mpi.compressors import Compressor
from fedcomloc_mpi.config import Config
from fedcomloc_mpi.errors import AgreedError
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.runtime.coding_time import fastest_coders
from fedcomloc_mpi.transport.wait import wait_all
from fedcomloc_mpi.transport.world import SERVER, World
from fedcomloc_mpi.wire import ALWAYS, available, every, names, numbered


def agree_on_coders(
    world: World,
    config: Config,
    uplink: Compressor,
    downlink: Compressor,
    model: np.ndarray,
    layout: Layout,
    before: int = 0,
) -> tuple[int, Config]:
    """Return the set of coders that all ranks write with, and the configuration that says so; all ranks call this.

    Without --coders these are all that every rank has (MPI_Iallreduce of the bit masks), or with --objective time those
    of them that the server finds fastest for messages like those of this job, whose `model` is float32 [d]; the
    configuration then holds their names, so that a run that is repeated uses them too. `before`: the set that a run
    which goes on has used until now, 0 for another one. Raises AgreedError for coders that some rank does not have.
    """
    mine, common = np.array([available()], dtype=np.int64), np.zeros(1, dtype=np.int64)
    wait_all([world.comm.Iallreduce(mine, common, op=MPI.BAND)])
    everywhere = int(common[0])
    asked = config.compression.coders
    wanted = ALWAYS | numbered(asked.split(",")) if asked is not None else before
    if wanted:
        missing = names(wanted & ~everywhere)
        if missing:
            raise AgreedError(
                f"coders is {asked or ','.join(names(wanted))}: {', '.join(missing)} cannot be used, because on at"
                " least one rank the package was installed without a C compiler"
            )
        return wanted, config
    if config.compression.objective == "bytes":
        return everywhere, config
    if world.is_server:
        common[0] = fastest_coders(everywhere, config.compression.bandwidth, uplink, downlink, model, layout)
    wait_all([world.comm.Ibcast(common, root=SERVER)])
    chosen = int(common[0])
    return chosen, replace(config, compression=replace(config.compression, coders=",".join(names(chosen))))


def left_out(coders: int) -> tuple[str, ...]:
    """Return the names of the coders that compiled kernels would offer and `coders` lacks."""
    return names(every() & ~coders)
