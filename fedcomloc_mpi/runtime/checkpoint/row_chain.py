"""The rows of one node's clients on disk: a base, then files with the rows that changed since the file before."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fedcomloc_mpi.runtime.checkpoint.container import ContainerWriter, FileRef
from fedcomloc_mpi.runtime.checkpoint.names import rows_name
from fedcomloc_mpi.runtime.client_state import ClientState

# Rows in the files of a chain, over rows that are needed, before a new base is written.
_LARGEST_RATIO = 2.0


class RowChain:
    """Writes the rows of the clients that have taken part and whose home is one node.

    A checkpoint is `begin`, any number of `write`, `finish`; in between no client may change a row that is still to be
    written. A later file's row replaces an earlier one's. The first file is a base, with all rows.
    """

    def __init__(self, folder: Path, node: int, state: ClientState, held: Iterable[int] = ()) -> None:
        """`held`: clients of the node that took part before."""
        self._folder, self._node, self._state = folder, node, state
        self._held = set(held)
        self._changed: set[int] = set()
        self._rows_written = 0
        self._remaining: set[int] = set()
        self._order: list[int] = []
        self._file: ContainerWriter | None = None
        self._is_base = True

    def note(self, clients: Iterable[int]) -> None:
        """Remember that the rows of these clients change."""
        self._changed.update(clients)

    def begin(self, round: int) -> bool:
        """Begin the file of a round; return whether it is a base."""
        self._held |= self._changed
        rows = self._rows_written + len(self._changed)
        self._is_base = self._rows_written == 0 or rows > _LARGEST_RATIO * len(self._held)
        self._remaining = set(self._held if self._is_base else self._changed)
        self._changed = set()
        self._order = []
        self._file = ContainerWriter(self._folder / rows_name(round, self._node))
        self._file.add_items("rows", np.dtype(np.float32), self._state.row_shape)
        return self._is_base

    def write(self, excepted: Iterable[int] = ()) -> None:
        """Write the rows that remain, those of some clients excepted."""
        assert self._file is not None
        for client in sorted(self._remaining.difference(excepted)):
            self._file.append(self._state.row(client))
            self._order.append(client)
            self._remaining.remove(client)

    def finish(self, records: bytes = b"") -> FileRef:
        """Write what remains, and the lines of rounds.jsonl that belong to the file; make the file appear."""
        assert self._file is not None
        self.write()
        self._file.add("clients", np.array(self._order, dtype=np.int64))
        self._file.add("records", np.frombuffer(records, dtype=np.uint8))
        written = self._file.finish({"node": self._node, "base": self._is_base})
        self._file = None
        self._rows_written = len(self._order) + (0 if self._is_base else self._rows_written)
        return written

    def discard(self) -> None:
        """Give up a file that was begun, if any; the next one is a base."""
        if self._file is not None:
            self._file.discard()
            self._file = None
        self._rows_written = 0
