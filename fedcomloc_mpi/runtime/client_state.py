"""What clients keep between rounds, where every rank of a node can reach it."""

import numpy as np
import torch
from mpi4py import MPI

from fedcomloc_mpi.algorithms import Vectors
from fedcomloc_mpi.transport.shared_memory import shared_array

_ALIGNMENT = 16  # float32 entries, 64 bytes


class ClientState:
    """The control variates of all clients and the uploads of two rounds, float32, in node-shared memory.

    Control variates are zero at first; only those of clients that took part occupy memory. Uploads outlive their round,
    so that the rank that runs a client next can commit it: see `schedule.committing`.
    """

    def __init__(
        self,
        node: MPI.Comm,
        clients: int,
        vectors: int,
        size: int,
        cohort: int,
        uplink_vectors: int,
        folder: str | None = None,
    ) -> None:
        """`folder`: where the control variates lie in a file, for more of them than memory holds; None: in memory."""
        self._size = size
        self._rows = shared_array(node, (clients, vectors, size), np.float32, folder)
        # Every upload begins on a cache line: the last bits of a matrix product may depend on where its factors begin.
        aligned = -(-size // _ALIGNMENT) * _ALIGNMENT
        self._uploads = shared_array(node, (2, cohort, uplink_vectors, aligned), np.float32)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one client's control variates, [vectors, d]."""
        return self._rows.shape[1:]

    def row(self, client: int) -> np.ndarray:
        """Return the client's control variates, float32 [vectors, d], as a view."""
        row: np.ndarray = self._rows[client]
        return row

    def of(self, client: int) -> Vectors:
        """Return the client's control variates, float32 [d] each, as views."""
        return tuple(torch.from_numpy(row) for row in self._rows[client])

    def upload(self, round: int, position: int) -> Vectors:
        """Return the upload of a cohort's member, float32 [d] each, as views; two rounds later it is another's."""
        return tuple(torch.from_numpy(row[: self._size]) for row in self._uploads[round % 2, position])

    def add_to(self, total: np.ndarray, clients: np.ndarray, weights: np.ndarray) -> None:
        """Add the control variates of `clients` (ids, in that order), times their `weights` (float64, of all clients).

        `total` is float64 [vectors, d].
        """
        for client in clients:
            total += weights[client] * self._rows[client]
