"""Round records: one JSON line of rounds.jsonl for every round (docs/measurements.md)."""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

from fedcomloc_mpi.errors import UserError


@dataclass(frozen=True)
class DirectionBytes:
    """Bytes of one direction in one round, as docs/measurements.md defines them.

    Uplink: sums over the cohort; downlink payload: size x cohort. device_bytes: downlink only, None for the
    uplink. coders: by name, how many of the direction's messages each coder has written a part of.
    """

    paper_bytes: float
    bound_bytes: float
    payload_bytes: int
    mpi_bytes: int
    device_bytes: int | None = None
    coders: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object; device_bytes only where it is counted."""
        counts: dict[str, Any] = {
            "paper_bytes": float(self.paper_bytes),
            "bound_bytes": float(self.bound_bytes),
            "payload_bytes": int(self.payload_bytes),
            "mpi_bytes": int(self.mpi_bytes),
        }
        if self.device_bytes is not None:
            counts["device_bytes"] = int(self.device_bytes)
        counts["coders"] = {name: int(count) for name, count in self.coders.items()}
        return counts

    @classmethod
    def from_dict(cls, counts: Mapping[str, Any]) -> Self:
        """Read what `to_dict` returns; KeyError, TypeError or ValueError if it is something else."""
        device = counts.get("device_bytes")
        return cls(
            float(counts["paper_bytes"]),
            float(counts["bound_bytes"]),
            int(counts["payload_bytes"]),
            int(counts["mpi_bytes"]),
            None if device is None else int(device),
            {str(name): int(count) for name, count in counts.get("coders", {}).items()},
        )


class MaxSum(NamedTuple):
    """Maximum and sum over ranks of a duration, in seconds."""

    max: float
    sum: float


def over_ranks(laps: Iterable[Mapping[str, float]]) -> dict[str, MaxSum]:
    """Return maximum and sum over ranks of each part; `laps` holds one Stopwatch lap per rank, in rank
    order."""
    combined: dict[str, MaxSum] = {}
    for lap in laps:
        for part, seconds in lap.items():
            before = combined.get(part, MaxSum(0.0, 0.0))
            combined[part] = MaxSum(max(before.max, seconds), before.sum + seconds)
    return combined


@dataclass(frozen=True)
class RoundRecord:
    """What is known of one round when it ends.

    cohort: client ids, in order. train_loss: mean over the cohort of the mean minibatch loss. The three test
    figures are None where not evaluated; test_accuracy_compressed also without a compressor. server_seconds:
    rank 0's lap; its values add up to the round. client_seconds: see `over_ranks`. lost_ranks: client ranks that died
    in the round, which was completed without them. Figures that are not finite become null in the file.
    """

    round: int
    local_steps: int
    cohort: Sequence[int]
    train_loss: float | None
    control_sum_norm: float | None
    uplink: DirectionBytes
    downlink: DirectionBytes
    server_seconds: Mapping[str, float]
    client_seconds: Mapping[str, MaxSum]
    test_loss: float | None = None
    test_accuracy: float | None = None
    test_accuracy_compressed: float | None = None
    lost_ranks: Sequence[int] = ()

    @property
    def seconds(self) -> float:
        """Length of the round."""
        return math.fsum(self.server_seconds.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of the round.

        `seconds` holds `round`, beside it the server's parts, which add up to it, and under `clients` maximum
        and sum over ranks of each part of the clients. `lost_ranks` is there only when there are any.
        """
        lost = {"lost_ranks": [int(rank) for rank in self.lost_ranks]} if self.lost_ranks else {}
        clients = {part: {"max": value.max, "sum": value.sum} for part, value in self.client_seconds.items()}
        return {
            "round": int(self.round),
            "local_steps": int(self.local_steps),
            "cohort": [int(client) for client in self.cohort],
            "train_loss": finite_or_none(self.train_loss),
            "test_loss": finite_or_none(self.test_loss),
            "test_accuracy": finite_or_none(self.test_accuracy),
            "test_accuracy_compressed": finite_or_none(self.test_accuracy_compressed),
            "control_sum_norm": finite_or_none(self.control_sum_norm),
            "uplink": self.uplink.to_dict(),
            "downlink": self.downlink.to_dict(),
            "seconds": {"round": self.seconds, **self.server_seconds, "clients": clients},
            **lost,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` returns, further keys ignored; KeyError, TypeError or ValueError otherwise."""
        seconds = dict(record["seconds"])
        clients = seconds.pop("clients")
        del seconds["round"]
        return cls(
            round=int(record["round"]),
            local_steps=int(record["local_steps"]),
            cohort=tuple(int(client) for client in record["cohort"]),
            train_loss=_optional_float(record["train_loss"]),
            control_sum_norm=_optional_float(record["control_sum_norm"]),
            uplink=DirectionBytes.from_dict(record["uplink"]),
            downlink=DirectionBytes.from_dict(record["downlink"]),
            server_seconds={part: float(value) for part, value in seconds.items()},
            client_seconds={part: MaxSum(float(v["max"]), float(v["sum"])) for part, v in clients.items()},
            test_loss=_optional_float(record["test_loss"]),
            test_accuracy=_optional_float(record["test_accuracy"]),
            test_accuracy_compressed=_optional_float(record["test_accuracy_compressed"]),
            lost_ranks=tuple(int(rank) for rank in record.get("lost_ranks", ())),
        )


class RoundWriter:
    """Appends round records to a file; each line is in the operating system's hands when `write` returns."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open `path` for appending; UserError if that fails."""
        self._path = os.fspath(path)
        try:
            self._file: BinaryIO = open(self._path, "ab")  # noqa: SIM115 (closed by close)
        except OSError as error:
            raise UserError(f"cannot write {self._path}: {error.strerror}") from error

    def write(self, record: RoundRecord) -> None:
        """Append one line and flush it; UserError if the disk does not take it."""
        line = json.dumps(record.to_dict(), allow_nan=False, separators=(",", ":")).encode() + b"\n"
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise UserError(f"cannot write {self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Close the file; may be called again. What could not be written, `write` has said."""
        with suppress(OSError):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Rounds(NamedTuple):
    """Records read from a file; truncated: the last line was cut off (a killed run) and is left out."""

    records: list[RoundRecord]
    truncated: bool


def read_rounds(path: str | os.PathLike[str]) -> Rounds:
    """Read a rounds.jsonl. Raises UserError for an unreadable file or, naming it, a line that is not a
    record."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UserError(f"cannot read {os.fspath(path)}: {error.strerror}") from error
    return parse_rounds(data, os.fspath(path))


def parse_rounds(data: bytes, name: str) -> Rounds:
    """Read the contents of a rounds.jsonl. Raises UserError for a line that is not a record, as one of `name`."""
    lines = data.split(b"\n")
    unfinished = lines.pop()
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(RoundRecord.from_dict(json.loads(line)))
        # RecursionError and OverflowError: from deeply nested JSON and from numbers such as 1e999 read as
        # integers.
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
            raise UserError(f"{name}, line {number}: not a round record") from error
    return Rounds(records, truncated=bool(unfinished))


def finite_or_none(value: float | None) -> float | None:
    """Return `value` as a float; None for NaN, infinities and None, none of which JSON can hold as
    numbers."""
    return float(value) if value is not None and math.isfinite(value) else None


def _optional_float(value: Any) -> float | None:
    return None if value is None else float(value)
