"""What a client rank tells the server beside its messages."""

from dataclasses import dataclass, field

import numpy as np

NOTHING_SAVED = (0, 0, 0)
_FIXED_WORDS = 1 + len(NOTHING_SAVED)


@dataclass(frozen=True)
class RankReport:
    """One rank's report of one round.

    signal: number of a signal that the rank has received, 0 for none. saved: what the rank, as the leader of a node
    without the server, has written of the last checkpoint, three integers that the runtime defines. seconds: float64
    [parts], the rank's own durations since its last report. losses: float64 [clients], the mean minibatch loss of each
    of its clients, NaN when that diverged. lengths: int64 [clients, vectors], bytes of each encoded vector; a client
    whose model is not finite sends none, which shows as length 0.
    """

    signal: int
    seconds: np.ndarray
    losses: np.ndarray
    lengths: np.ndarray
    saved: tuple[int, int, int] = field(default=NOTHING_SAVED)

    @staticmethod
    def size(clients: int, parts: int, vectors: int) -> int:
        """Return the bytes of a packed report."""
        return 8 * (_FIXED_WORDS + parts + clients * (1 + vectors))

    def pack(self) -> np.ndarray:
        """Return the report as uint8: 8-byte little-endian words, signal, saved, seconds, losses, lengths."""
        return np.concatenate(
            [
                np.array([self.signal, *self.saved], dtype="<i8").view(np.uint8),
                self.seconds.astype("<f8").view(np.uint8),
                self.losses.astype("<f8").view(np.uint8),
                np.ascontiguousarray(self.lengths, dtype="<i8").reshape(-1).view(np.uint8),
            ]
        )

    @staticmethod
    def unpack(data: np.ndarray, clients: int, parts: int, vectors: int) -> "RankReport":
        """Return the report that `data` (uint8 [size(...)]) holds. Raises ValueError on a negative length."""
        floats_at, lengths_at = 8 * _FIXED_WORDS, 8 * (_FIXED_WORDS + parts + clients)
        signal, *saved = data[:floats_at].view("<i8").tolist()
        floats = data[floats_at:lengths_at].view("<f8")
        lengths = data[lengths_at:].view("<i8").reshape(clients, vectors)
        if (lengths < 0).any():
            raise ValueError("a rank's report holds a negative message length")
        return RankReport(
            signal,
            floats[:parts].copy(),
            floats[parts:].copy(),
            lengths.copy(),
            (saved[0], saved[1], saved[2]),
        )
