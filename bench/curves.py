"""What a run had reached, and at what cost, at each of its evaluations: the run's curve as a small CSV file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import rows
from fedcomloc_mpi.metrics import RoundRecord

TAU = 0.01  # the paper's price of a local step, in units of a communication
COLUMNS = (
    *("round", "local_steps", "accuracy", "accuracy_compressed", "test_loss", "train_loss"),
    *(f"{side}_{kind}" for side in ("uplink", "downlink") for kind in ("payload", "paper", "bound", "mpi")),
    *("device", "seconds", "total_cost"),
)


def rows_of(records: Sequence[RoundRecord], every: bool = False) -> list[dict[str, Any]]:
    """Return a row of COLUMNS for each evaluated round, or for every round.

    local_steps, bytes, seconds and total_cost (1 per round + TAU per local step) are sums from the first round on.
    """
    found = []
    steps, device, seconds = 0, 0, 0.0
    totals = dict.fromkeys(COLUMNS[6:14], 0.0)
    for count, record in enumerate(records, start=1):
        steps += record.local_steps
        seconds += record.seconds
        device += record.downlink.device_bytes or 0
        for side, counts in (("uplink", record.uplink), ("downlink", record.downlink)):
            for kind in ("payload", "paper", "bound", "mpi"):
                totals[f"{side}_{kind}"] += getattr(counts, f"{kind}_bytes")
        if every or record.test_accuracy is not None:
            found.append(
                {
                    "round": record.round,
                    "local_steps": steps,
                    "accuracy": shortened(record.test_accuracy),
                    "accuracy_compressed": shortened(record.test_accuracy_compressed),
                    "test_loss": shortened(record.test_loss),
                    "train_loss": shortened(record.train_loss),
                    **{name: round(total) for name, total in totals.items()},
                    "device": device,
                    "seconds": round(seconds, 3),
                    "total_cost": round(count + TAU * steps, 2),
                }
            )
    return found


def shortened(value: float | None) -> str | None:
    """Return six significant digits."""
    return None if value is None else f"{value:.6g}"


def write(path: Path, records: Sequence[RoundRecord]) -> None:
    """Write the curve of a run, in place of an older one."""
    path.unlink(missing_ok=True)
    rows.append(path, COLUMNS, rows_of(records))


def read(path: Path) -> list[dict[str, float]]:
    """Return the curve as numbers; figures that a run does not have are left out of its rows."""
    return [{name: float(value) for name, value in row.items() if value} for row in rows.read(path)]
