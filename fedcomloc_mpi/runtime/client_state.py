"""What clients keep between rounds, where every rank of a node can reach it."""

from collections.abc import Callable

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
        journal: bool = False,
    ) -> None:
        """`folder`: where the control variates lie in a file, for more of them than memory holds; None: in memory.

        journal: whether a commit can be completed by another rank if the one that does it dies.
        """
        self._size = size
        self._rows = shared_array(node, (clients, vectors, size), np.float32, folder)
        # Every upload begins on a cache line: the last bits of a matrix product may depend on where its factors begin.
        aligned = -(-size // _ALIGNMENT) * _ALIGNMENT
        self._uploads = shared_array(node, (2, cohort, uplink_vectors, aligned), np.float32)
        self._staged = shared_array(node, (cohort if journal else 0, vectors, size), np.float32)
        self._journal = shared_array(node, (cohort if journal else 0,), np.int64)

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

    def commit(
        self, round: int, position: int, client: int, update: Callable[[Vectors, Vectors], None]
    ) -> None:
        """Let `update`, given the upload of a cohort's member and its control variates, change the latter.

        With a journal that happens once, however often it is begun: what is to be written is staged first. So it may be
        called again for a rank that has died, by a rank of the same node, while no rank commits.
        """
        if not self._journal.size:
            update(self.upload(round, position), self.of(client))
            return
        staged, complete = 2 * round, 2 * round + 1
        if self._journal[position] == complete:
            return
        if self._journal[position] != staged:
            control = tuple(vector.clone() for vector in self.of(client))
            update(tuple(vector.clone() for vector in self.upload(round, position)), control)
            for into, vector in zip(self._staged[position], control, strict=True):
                into[:] = vector.numpy()
            self._journal[position] = staged
        self._rows[client] = self._staged[position]
        self._journal[position] = complete

    def add_to(self, total: np.ndarray, clients: np.ndarray, weights: np.ndarray) -> None:
        """Add the control variates of `clients` (ids, in that order), times their `weights` (float64, of all clients).

        `total` is float64 [vectors, d].
        """
        for client in clients:
            total += weights[client] * self._rows[client]
