"""Run `fedcomloc_mpi.train` with ranks that believe that they run on several nodes.

    mpirun -n 4 python tests/jobs/nodes.py NODES FLAG...

Rank r is on node r mod NODES.
"""

import sys
from unittest.mock import patch

from mpi4py import MPI

from fedcomloc_mpi import train
from fedcomloc_mpi.runtime import job
from fedcomloc_mpi.transport.world import World
from tests.transport.worlds import world_of


def main(nodes: int, *flags: str) -> int:
    def opened(comm: MPI.Intracomm) -> World:
        return world_of(comm, [rank % nodes for rank in range(comm.size)])

    with patch.object(job, "open_world", opened):
        return train.main(flags)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:]))
