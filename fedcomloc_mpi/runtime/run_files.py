"""The files that a run leaves in its folder, rounds.jsonl and checkpoints aside."""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from fedcomloc_mpi.atomic_file import atomic_write
from fedcomloc_mpi.config import to_toml
from fedcomloc_mpi.data import Partition, holds_partition, save_partition
from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.metrics import (
    EventWriter,
    RoundRecord,
    RoundWriter,
    create_run_folder,
    describe_environment,
    read_rounds,
    write_json,
)
from fedcomloc_mpi.metrics.tensorboard import FOLDER as EVENTS
from fedcomloc_mpi.models import state_bytes
from fedcomloc_mpi.runtime.batched_clients import clients_at_once
from fedcomloc_mpi.runtime.checkpoint.names import FOLDER
from fedcomloc_mpi.runtime.checkpoint.retention import remove_leftovers
from fedcomloc_mpi.runtime.coders import left_out
from fedcomloc_mpi.runtime.setup import Setup
from fedcomloc_mpi.runtime.start import Located
from fedcomloc_mpi.runtime.training_data import TrainingData
from fedcomloc_mpi.transport.survival import LostRank
from fedcomloc_mpi.transport.world import library_version
from fedcomloc_mpi.wire import names

_LOCK_SECONDS = 5.0  # in which a job that has just been killed lets go


class RunFiles:
    """Writes the files of one run, each either whole or not at all; used by the server alone."""

    def __init__(self, setup: Setup, data: TrainingData, located: Located) -> None:
        """Create the run's folder with what is known before the first round, or open that of a resumed run.

        Raises UserError.
        """
        self._setup = setup
        resume = setup.config.runtime.resume
        self.folder: Path = self._create() if resume is None else Path(resume)
        with _user_errors(self.folder), ExitStack() as on_error:
            self.checkpoints.mkdir(exist_ok=True)
            self._lock = _lock(self.checkpoints / "lock")
            on_error.callback(self.close)
            for folder in (self.folder, self.checkpoints):
                remove_leftovers(folder)
            partition_kept = self._keeps_partition(data)
            if resume is not None:
                self._reopen(located)
            self._write_environment(data, located.round if resume is not None else None)
            if not partition_kept:
                save_partition(
                    self._partition_path, Partition(list(data.partition), data.redraws, data.repaired)
                )
            if not (self.folder / "initial.pt").exists() and located.round is None:
                self.write_model("initial.pt", setup.initial)
            on_error.pop_all()

    def close(self) -> None:
        """Let another job use the folder."""
        os.close(self._lock)

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.folder / FOLDER

    @property
    def rounds(self) -> Path:
        """The path of rounds.jsonl."""
        return self.folder / "rounds.jsonl"

    def open_rounds(self) -> RoundWriter:
        """Open rounds.jsonl for appending."""
        return RoundWriter(self.rounds)

    def open_events(self, first_round: int) -> EventWriter:
        """Begin a TensorBoard event file of the rounds from `first_round` on."""
        return EventWriter(self.folder / EVENTS, first_round)

    def read_rounds(self) -> list[RoundRecord]:
        """Return the records of the rounds until now."""
        return read_rounds(self.rounds).records if self.rounds.exists() else []

    def write_model(self, name: str, vector: Tensor) -> None:
        """Write a flat model, float32 [d], as a state_dict."""
        atomic_write(self.folder / name, state_bytes(self._setup.model.state_dict_of(vector)))

    def add_lost(self, lost: Sequence[LostRank], round: int) -> None:
        """Add to environment.json ranks that died in a round and that the run goes on without."""
        path = self.folder / "environment.json"
        with _user_errors(path):
            facts = _read_environment(path)
        facts.setdefault("lost_ranks", []).extend(asdict(each) | {"round": round} for each in lost)
        write_json(path, facts)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write summary.json."""
        write_json(self.folder / "summary.json", summary)

    @property
    def _partition_path(self) -> Path:
        return self.folder / "partition.npz"

    def _create(self) -> Path:
        config = self._setup.config
        return create_run_folder(
            config.runtime.out, config.data.dataset, config.algorithm.algorithm, to_toml(config)
        )

    def _reopen(self, located: Located) -> None:
        """Bring the files to where the checkpoint was."""
        config = self._setup.config
        atomic_write(self.folder / "config.toml", to_toml(config))
        records = b"" if located.found is None else located.found.records
        if (located.round or 0) < config.algorithm.rounds:
            if located.round and located.round % config.runtime.eval_every:
                records = _without_evaluation_at_the_end(records)
            for name in ("summary.json", "final.pt", "final_compressed.pt"):
                (self.folder / name).unlink(missing_ok=True)
        if not self.rounds.exists() or self.rounds.read_bytes() != records:
            atomic_write(self.rounds, records)

    def _keeps_partition(self, data: TrainingData) -> bool:
        """Whether partition.npz is there and the clients have the samples that they had.

        Raises UserError if they have others, unless that is allowed.
        """
        if not self._partition_path.exists():
            return False
        same = holds_partition(self._partition_path, data.partition)
        if not same and not self._setup.config.runtime.allow_config_change:
            raise UserError(
                f"--resume {self.folder}: the data set gives another partition than {self._partition_path.name} holds:"
                " is --data-dir another data set?"
            )
        return same

    def _write_environment(self, data: TrainingData, resumed_at: int | None) -> None:
        """Write environment.json; a resumed run adds what it runs on to what the run began on."""
        facts = describe_environment(
            mpi_library=library_version(),
            hosts=self._setup.world.hosts,
            coders={
                "in_use": list(names(self._setup.coders)),
                "left_out": list(left_out(self._setup.coders)),
            },
            threads=self._setup.config.runtime.threads,
            bitwise=not self._setup.devices.gpu_ranks and clients_at_once(self._setup) == 1,
            device="cuda" if self._setup.devices.gpu_ranks else "cpu",
            extra={
                "device_of_rank": list(self._setup.devices.of_rank),
                "process_of_rank": list(self._setup.world.processes),
                "partition_redraws": data.redraws,
                "partition_repaired_samples": data.repaired,
            },
        )
        path = self.folder / "environment.json"
        if resumed_at is not None and path.exists():
            first = _read_environment(path)
            facts = first | {"resumed": [*first.get("resumed", []), facts | {"after_round": resumed_at}]}
        write_json(path, facts)


def _read_environment(path: Path) -> dict[str, Any]:
    """Read an environment.json, in which only what is to be added to matters. Raises UserError."""
    try:
        facts = json.loads(path.read_text())
        json.dumps(facts, allow_nan=False)  # it is to be written again
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged") from error
    if not isinstance(facts, dict) or not all(
        isinstance(facts.get(name, []), list) for name in ("resumed", "lost_ranks")
    ):
        raise UserError(f"{path} is damaged")
    return facts


@contextmanager
def _user_errors(path: Path) -> Iterator[None]:
    """Turn an OSError, as of a folder where a file should be, into a UserError: of `path` if it names no file."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot use {error.filename or path}: {error.strerror}") from error


def _without_evaluation_at_the_end(records: bytes) -> bytes:
    """Return the lines of rounds.jsonl without the last one's test figures, which a longer run would not have."""
    *lines, last = records.splitlines(keepends=True)
    record = json.loads(last)
    record |= dict.fromkeys(("test_loss", "test_accuracy", "test_accuracy_compressed"))
    return b"".join(lines) + json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _lock(path: Path) -> int:
    """Return a descriptor that holds the lock on a run's folder until the process ends. Raises UserError."""
    end = time.monotonic() + _LOCK_SECONDS
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                os.close(descriptor)
                raise UserError(f"{path.parent.parent} is in use by another job") from None
            time.sleep(0.2)
        except OSError:  # a file system without locks
            return descriptor
        else:
            return descriptor
