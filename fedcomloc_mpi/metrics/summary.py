"""What a whole run came to: summary.json, and whether the target accuracy was reached."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fedcomloc_mpi.metrics.bytes import dense_bytes
from fedcomloc_mpi.metrics.records import DirectionBytes, RoundRecord


class Status(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"
    TARGET = "target"


@dataclass
class _Accuracy:
    last: float | None = None
    best: float | None = None
    best_round: int | None = None

    def add(self, value: float | None, round: int) -> None:
        if value is None:
            return
        self.last = value
        if self.best is None or value > self.best:
            self.best, self.best_round = value, round


@dataclass
class Summary:
    """Running totals over the rounds of a run, in order; a resumed run adds its earlier records first.

    size: entries of the model (d). target_accuracy: None if there is no target; the model x counts, not C(x).
    startup_seconds: from the start of the process to the first round, if measured. lost_ranks: each with its round.
    """

    size: int
    target_accuracy: float | None = None
    startup_seconds: float | None = None
    rounds: int = 0
    seconds: float = 0.0
    to_target: dict[str, Any] | None = None
    lost_ranks: list[dict[str, int]] = field(default_factory=list)
    _model: _Accuracy = field(default_factory=_Accuracy)
    _compressed: _Accuracy = field(default_factory=_Accuracy)
    _uplink: Counter[str] = field(default_factory=Counter)
    _downlink: Counter[str] = field(default_factory=Counter)
    _server: dict[str, float] = field(default_factory=dict)
    _clients: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, record: RoundRecord) -> None:
        """Count one round."""
        self.rounds += 1
        self.seconds += record.seconds
        self.add_evaluation(record.round, record.test_accuracy, record.test_accuracy_compressed)
        self.lost_ranks += [{"rank": int(rank), "round": record.round} for rank in record.lost_ranks]
        dense = dense_bytes(self.size, len(record.cohort))
        _add_bytes(self._uplink, record.uplink, dense)
        _add_bytes(self._downlink, record.downlink, dense)
        for part, seconds in record.server_seconds.items():
            self._server[part] = self._server.get(part, 0.0) + seconds
        for part, value in record.client_seconds.items():
            total = self._clients.setdefault(part, {"max": 0.0, "sum": 0.0})
            total["max"] += value.max
            total["sum"] += value.sum
        if self.to_target is None and self._at_target(record):
            up, down = self._uplink["payload_bytes"], self._downlink["payload_bytes"]
            self.to_target = {
                "rounds": self.rounds,
                "bytes": up + down,
                "uplink_bytes": up,
                "downlink_bytes": down,
                "seconds": self.seconds,
            }

    def add_evaluation(self, round: int, model: float | None, compressed: float | None) -> None:
        """Count the accuracies of x and C(x) after a round; None where there is none."""
        self._model.add(model, round)
        self._compressed.add(compressed, round)

    @property
    def target_reached(self) -> bool:
        """Whether an evaluated round had the target accuracy."""
        return self.to_target is not None

    def to_dict(self, status: Status, message: str | None = None) -> dict[str, Any]:
        """Return the JSON object of summary.json.

        `message` says in a sentence why a run ended early. Totals are over all rounds; dense_bytes is what
        one float32 model per cohort member would be. Seconds of `clients`: `max` adds up the slowest rank of
        each round. The bytes in `to_target` are payload bytes.
        """
        startup = {} if self.startup_seconds is None else {"startup": self.startup_seconds}
        return {
            "status": str(status),
            "message": message,
            "rounds": self.rounds,
            "best_accuracy": self._model.best,
            "best_accuracy_round": self._model.best_round,
            "last_accuracy": self._model.last,
            "best_accuracy_compressed": self._compressed.best,
            "best_accuracy_compressed_round": self._compressed.best_round,
            "last_accuracy_compressed": self._compressed.last,
            "uplink": dict(self._uplink),
            "downlink": dict(self._downlink),
            "seconds": {"total": self.seconds, **startup, **self._server, "clients": self._clients},
            "target_accuracy": self.target_accuracy,
            "to_target": self.to_target,
            **({"lost_ranks": self.lost_ranks} if self.lost_ranks else {}),
        }

    def _at_target(self, record: RoundRecord) -> bool:
        return (
            self.target_accuracy is not None
            and record.test_accuracy is not None
            and record.test_accuracy >= self.target_accuracy
        )


def _add_bytes(total: Counter[str], counts: DirectionBytes, dense: int) -> None:
    added: dict[str, Any] = counts.to_dict() | {"dense_bytes": dense}
    del added["coders"]
    for kind, value in added.items():
        total[kind] += value
