"""A run as its folder holds it; nothing in the folder is trusted."""

import json
import math
import os
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.metrics import RoundRecord, read_rounds
from fedcomloc_mpi.reporting.curves import Point, curve

_LARGEST_FILE = (
    1 << 24
)  # bytes of a JSON or TOML file; a host and a process for each of 10 000 ranks are 1 MB
_LARGEST = 2.0**62  # of any figure: sums of them over a run stay finite
_SHOWN_SETTINGS = ("algorithm", "dataset", "density", "bits", "lr", "seed")


@dataclass(frozen=True)
class Run:
    """A run. config: the keys of config.toml; environment: of environment.json, empty if there is none.

    status: of summary.json; "unfinished" without one.
    """

    folder: Path
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    status: str
    records: Sequence[RoundRecord]
    label: str = ""

    @cached_property
    def curve(self) -> list[Point]:
        """The evaluated rounds, and the last."""
        return curve(self.records)

    @property
    def last(self) -> Point:
        """The point after the last round."""
        return self.curve[-1]

    @property
    def accuracy(self) -> float | None:
        """Test accuracy of the last evaluation; None if there was none, or the run diverged."""
        return self._last("accuracy")

    @property
    def accuracy_compressed(self) -> float | None:
        """The same of the compressed model."""
        return self._last("accuracy_compressed")

    def participation(self) -> dict[int, int]:
        """Return for every client, by id, in how many rounds it took part."""
        counts = Counter(client for record in self.records for client in record.cohort)
        known = self.config.get("clients")
        clients = known if isinstance(known, int) and 0 < known <= 10_000_000 else 0
        return {client: counts[client] for client in sorted({*range(clients), *counts})}

    def server_seconds(self) -> dict[str, float]:
        """Return the seconds of each part of the server's time; they add up to the run's."""
        return _summed(record.server_seconds for record in self.records)

    def client_seconds(self) -> dict[str, float]:
        """Return for each part the sum over rounds of the slowest rank's seconds."""
        return _summed(
            {part: value.max for part, value in record.client_seconds.items()} for record in self.records
        )

    def _last(self, name: str) -> float | None:
        if self.status == "diverged":
            return None
        values = [value for point in self.curve if (value := getattr(point, name)) is not None]
        return values[-1] if values else None


def find_runs(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the run folders among `paths` and, for a path that is none itself, right below it.

    Raises UserError for a path without a run.
    """
    found = []
    for path in map(Path, paths):
        inside = [] if _is_run(path) else sorted(child.parent for child in path.glob("*/rounds.jsonl"))
        if not inside and not _is_run(path):
            what = "there is no such folder" if not path.exists() else "no run: it has no rounds.jsonl"
            raise UserError(f"{path}: {what}; name the folder that --out named in training")
        found += inside or [path]
    return list(dict.fromkeys(found))


def read_run(folder: Path) -> Run:
    """Read a run's folder. Raises UserError: a file that is missing, unreadable or not what a run writes."""
    rounds = folder / "rounds.jsonl"
    if not rounds.is_file():
        raise UserError(f"{rounds} is not a regular file")
    records = read_rounds(rounds).records
    if not records:
        raise UserError(f"{rounds}: no round has ended yet")
    for line, record in enumerate(records, start=1):
        if not _plausible(record):
            raise UserError(f"{rounds}, line {line}: not a round record (a figure out of range)")
    config = folder / "config.toml"
    environment = _object(folder / "environment.json")
    summary = _object(folder / "summary.json")
    try:
        settings = tomllib.loads(_text(config))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{config}: not TOML ({' '.join(str(error).split())[:100]})") from None
    return Run(folder, settings, environment, str(summary.get("status", "unfinished")), records)


def labelled(runs: Sequence[Run]) -> list[Run]:
    """Return the runs with labels that tell them apart: the settings in which they differ, or else their folders."""
    differing = [name for name in _SHOWN_SETTINGS if len({str(run.config.get(name)) for run in runs}) > 1]
    labels = [
        ", ".join(_shown(name, run.config.get(name)) for name in differing) or run.folder.resolve().name
        for run in runs
    ]
    if len(set(labels)) < len(labels):
        labels = [run.folder.resolve().name for run in runs]
    if len(set(labels)) < len(labels):
        labels = [str(run.folder) for run in runs]
    return [
        Run(run.folder, run.config, run.environment, run.status, run.records, label[:120])
        for run, label in zip(runs, labels, strict=True)
    ]


def _shown(name: str, value: Any) -> str:
    return str(value) if name in ("algorithm", "dataset") else f"{name} {value}"


def _is_run(path: Path) -> bool:
    return (path / "rounds.jsonl").exists()


def _text(path: Path) -> str:
    """Return the text of a regular file that may be as large as a run's; UserError otherwise."""
    try:
        if not path.is_file():
            raise UserError(f"{path} is missing: not a whole run folder")
        if path.stat().st_size > _LARGEST_FILE:
            raise UserError(f"{path} is larger than {_LARGEST_FILE} bytes: a run does not write that")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8") from None


def _object(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        value = json.loads(_text(path))
    except (ValueError, RecursionError):
        raise UserError(f"{path}: not JSON") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object")
    return value


def _plausible(record: RoundRecord) -> bool:
    """Whether every figure is finite and in the range in which sums are."""
    sizes: list[float] = [record.round, record.local_steps, *record.cohort]
    for counts in (record.uplink, record.downlink):
        sizes += [counts.paper_bytes, counts.bound_bytes, counts.payload_bytes, counts.mpi_bytes]
        sizes.append(counts.device_bytes or 0)
    sizes += record.server_seconds.values()
    sizes += [value for both in record.client_seconds.values() for value in both]
    accuracies = (record.test_accuracy, record.test_accuracy_compressed)
    losses = (record.test_loss, record.train_loss)
    return (
        all(0 <= size < _LARGEST for size in sizes)
        and all(value is None or 0 <= value <= 1 for value in accuracies)
        and all(value is None or math.isfinite(value) for value in losses)
    )


def _summed(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for seconds in parts:
        for part, value in seconds.items():
            total[part] = total.get(part, 0.0) + value
    return total
