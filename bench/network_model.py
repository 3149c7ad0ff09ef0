"""An alpha-beta model of a round: what bench.network has measured on small networks, for larger ones.

    seconds = work + alpha + beta (up + down) + gamma relayed + lambda starts + mu windows

work: computing of the slowest client and of the server, as measured. up, down: seconds that a client's message and the
server's need on the narrowest link on their way, the client's own or the server's, which carries all of them. relayed:
seconds that a broadcast needs on a client's uplink, in the tree of the collectives; 0 with p2p. starts: round trips of
TCP's slow start, from 10 segments, times their length. windows: round trips at 64 KB each, the window of a
connection that has not grown. The constants are fitted by least squares of relative errors, none below 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

_FIRST_WINDOW, _WINDOW = 14_600, 65_536  # bytes


@dataclass(frozen=True)
class Load:
    """What a round asks of a network: bytes each client sends and receives, bits per second, seconds.

    uplink, downlink: bytes of one client. up, down: of a client's link; server: of the server's, either direction.
    delay: each way. work: computing in a round.
    """

    exchange: str
    clients: int
    uplink: float
    downlink: float
    up: float
    down: float
    server: float
    delay: float
    work: float

    @classmethod
    def of(cls, row: dict[str, str]) -> "Load":
        """Return the load of a row of bench.network."""
        clients, rounds = int(row["ranks"]) - 1, int(row["rounds"])
        server = float(row["server_mbit"])
        return cls(
            exchange=row["exchange"],
            clients=clients,
            uplink=int(row["uplink_mpi"]) / clients / rounds,
            downlink=int(row["downlink_mpi"]) / clients / rounds,
            up=float(row["up_mbit"]) * 1e6,
            down=float(row["down_mbit"]) * 1e6,
            server=server * 1e6 if server else math.inf,
            delay=float(row["delay_ms"]) / 1e3,
            work=float(row["client_work"]) + float(row["server_work"]),
        )

    def terms(self) -> list[float]:
        """Return what alpha, beta, gamma, lambda and mu are multiplied with."""
        up = 8 * self.uplink * max(1 / self.up, self.clients / self.server)
        down = 8 * self.downlink * max(1 / self.down, self.clients / self.server)
        relayed = 8 * self.downlink / self.up if self.exchange == "collectives" else 0.0
        sizes = self.uplink, self.downlink
        starts = sum(1 + math.log2(1 + size / _FIRST_WINDOW) for size in sizes)
        windows = sum(size / _WINDOW for size in sizes)
        return [1.0, up + down, relayed, 2 * self.delay * starts, 2 * self.delay * windows]


@dataclass(frozen=True)
class Model:
    """The fitted constants: alpha in seconds, the others without a unit."""

    constants: tuple[float, ...]

    @classmethod
    def fit(cls, loads: Sequence[Load], seconds: Sequence[float]) -> "Model":
        """Fit to measured rounds."""
        terms = np.array([load.terms() for load in loads])
        beyond = np.array([time - load.work for load, time in zip(loads, seconds, strict=True)])
        weights = 1 / np.asarray(seconds)
        constants, _ = nnls(terms * weights[:, None], beyond * weights)
        return cls(tuple(float(constant) for constant in constants))

    def seconds(self, load: Load) -> float:
        """Return the predicted length of a round."""
        return load.work + float(np.dot(self.constants, load.terms()))
