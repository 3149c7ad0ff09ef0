"""How much a client has to do, and how fast the ranks have proven to be."""

from collections.abc import Sequence
from statistics import median

import numpy as np

from fedcomloc_mpi.transport.exchange import USUAL_SPEED

# What a local step costs beside its samples, in samples: 37 for the mlp on MNIST, 5 for the cnn on CIFAR-10 (measured).
_STEP_OVERHEAD = 32
_MEMORY = 0.7  # weight of the past in the running mean of a rank's speed
_ALIKE = 1.25  # ranks that differ by less are taken for equal: a machine's noise must not move clients about
_SLOWEST, _FASTEST = 0.25, 4.0
_MEASURABLE = 1e-6  # seconds


def step_work(samples: np.ndarray, batch_size: int) -> np.ndarray:
    """Return what one local step of each client costs, int64, in samples; `samples`: int64, of each client."""
    return (np.minimum(samples, batch_size) if batch_size else samples) + _STEP_OVERHEAD


class SpeedMeter:
    """Learns from the rounds how fast each rank computes; on the server."""

    def __init__(self, ranks: int) -> None:
        self._relative = np.ones(ranks)

    @property
    def speeds(self) -> np.ndarray:
        """int64 [ranks], USUAL_SPEED for a rank that is as fast as most."""
        relative = np.where((self._relative < _ALIKE) & (self._relative > 1 / _ALIKE), 1.0, self._relative)
        speeds: np.ndarray = np.rint(relative.clip(_SLOWEST, _FASTEST) * USUAL_SPEED).astype(np.int64)
        return speeds

    def keep(self, ranks: Sequence[int]) -> None:
        """Go on with these ranks, in this order, after others were lost."""
        self._relative = self._relative[list(ranks)]

    def add(self, work: Sequence[float], seconds: Sequence[float]) -> None:
        """Learn from one round: what each rank had to do, and the seconds that it computed, [ranks] both.

        Ranks without work or time, such as the server, keep their speed.
        """
        # A few ranks in plain Python take a tenth of the time that numpy does.
        rates = {
            rank: done / taken
            for rank, (done, taken) in enumerate(zip(work, seconds, strict=True))
            if done > 0 and taken >= _MEASURABLE
        }
        if len(rates) < 2:
            return
        usual = median(rates.values())
        for rank, rate in rates.items():
            self._relative[rank] = _MEMORY * self._relative[rank] + (1 - _MEMORY) * rate / usual
