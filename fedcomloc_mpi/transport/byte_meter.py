"""Bytes that MPI delivers, counted on both sides."""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from fedcomloc_mpi.transport.wait import wait_all
from fedcomloc_mpi.transport.world import World


@dataclass
class ByteMeter:
    """Bytes that MPI delivered since the start or `restart`, counted on this rank's own side, by direction."""

    uplink: int = 0
    downlink: int = 0
    _taken: tuple[int, int] = (0, 0)

    def take(self) -> tuple[int, int]:
        """Return (uplink, downlink) bytes since the last call."""
        taken, self._taken = self._taken, (self.uplink, self.downlink)
        return self.uplink - taken[0], self.downlink - taken[1]

    def restart(self) -> None:
        """Count from zero, as ranks that were lost cannot be asked for their side; `take` still gives what is due."""
        due = self.take()
        self.uplink = self.downlink = 0
        self._taken = (-due[0], -due[1])

    def check(self, world: World) -> None:
        """Raise RuntimeError on every rank unless what was sent in a direction equals what was received.

        All ranks must call this.
        """
        mine = np.array([self.uplink, self.downlink], dtype=np.int64) * (-1 if world.is_server else 1)
        difference = np.empty(2, dtype=np.int64)
        wait_all([world.comm.Iallreduce(mine, difference, op=MPI.SUM)])
        for direction, bytes_off in zip(("uplink", "downlink"), difference.tolist(), strict=True):
            if bytes_off:
                raise RuntimeError(
                    f"{direction}: clients and server disagree by {bytes_off} bytes on what travelled"
                )
