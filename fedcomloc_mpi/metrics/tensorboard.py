"""Round records as TensorBoard event files."""

import os
from types import TracebackType
from typing import Self

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.metrics.records import RoundRecord

FOLDER = "tensorboard"


def require_tensorboard() -> None:
    """Raise UserError if event files cannot be written because TensorBoard is not installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise UserError("--tensorboard needs TensorBoard: pip install 'fedcomloc_mpi[report]'") from error


class EventWriter:
    """Writes the figures of rounds as scalars, the round as their step."""

    def __init__(self, folder: str | os.PathLike[str], first_round: int) -> None:
        """Begin a file in `folder`; events there of `first_round` and later, of a run that is resumed, are hidden."""
        from torch.utils.tensorboard import SummaryWriter

        self._folder = os.fspath(folder)
        try:
            self._events = SummaryWriter(self._folder, purge_step=first_round)
        except OSError as error:
            raise self._user_error(error) from error

    def write(self, record: RoundRecord) -> None:
        """Add one round; UserError if the disk does not take it."""
        try:
            for name, value in scalars(record).items():
                self._events.add_scalar(name, value, record.round)
        except OSError as error:
            raise self._user_error(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._events.close()
        except OSError as failure:
            if kind is None:
                raise self._user_error(failure) from failure

    def _user_error(self, error: OSError) -> UserError:
        return UserError(f"cannot write {self._folder}: {error.strerror}")


def scalars(record: RoundRecord) -> dict[str, float]:
    """Return what is shown of a round, by tag; figures that were not measured are left out."""
    found: dict[str, float | None] = {
        "accuracy/test": record.test_accuracy,
        "accuracy/test_compressed": record.test_accuracy_compressed,
        "loss/train": record.train_loss,
        "loss/test": record.test_loss,
        "training/control_sum_norm": record.control_sum_norm,
        "training/local_steps": record.local_steps,
        "seconds/round": record.seconds,
    }
    for side, counts in (("uplink", record.uplink), ("downlink", record.downlink)):
        for kind in ("payload", "paper", "bound", "mpi"):
            found[f"bytes_{side}/{kind}"] = getattr(counts, f"{kind}_bytes")
    for part, seconds in record.server_seconds.items():
        found[f"seconds_server/{part}"] = seconds
    for part, both in record.client_seconds.items():
        found[f"seconds_slowest_client/{part}"] = both.max
    return {name: value for name, value in found.items() if value is not None}
