"""What a run had reached, and at what cost, at each of its evaluations."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedcomloc_mpi.metrics import RoundRecord

TAU = 0.01  # the paper's price of a local step, in units of a communication


@dataclass(frozen=True)
class Point:
    """State after a round. Bytes, seconds, steps and total cost are sums from the first round on.

    Bytes by direction and kind as docs/measurements.md defines them; device: of the downlink. total_cost: 1 for each
    round and TAU for each local step. A figure that was not measured is None.
    """

    round: int
    local_steps: int
    accuracy: float | None
    accuracy_compressed: float | None
    test_loss: float | None
    train_loss: float | None
    uplink_payload: int
    uplink_paper: float
    uplink_bound: float
    uplink_mpi: int
    downlink_payload: int
    downlink_paper: float
    downlink_bound: float
    downlink_mpi: int
    device: int
    seconds: float
    total_cost: float

    @property
    def payload(self) -> int:
        """Payload bytes of both directions."""
        return self.uplink_payload + self.downlink_payload


def curve(records: Sequence[RoundRecord]) -> list[Point]:
    """Return a point for each evaluated round, and one for the last round in any case."""
    points = []
    steps, device, seconds = 0, 0, 0.0
    sums = {
        f"{side}_{kind}": 0
        for side in ("uplink", "downlink")
        for kind in ("payload", "paper", "bound", "mpi")
    }
    for count, record in enumerate(records, start=1):
        steps += record.local_steps
        seconds += record.seconds
        device += record.downlink.device_bytes or 0
        for side, counts in (("uplink", record.uplink), ("downlink", record.downlink)):
            for kind in ("payload", "paper", "bound", "mpi"):
                sums[f"{side}_{kind}"] += getattr(counts, f"{kind}_bytes")
        if record.test_accuracy is not None or count == len(records):
            points.append(
                Point(
                    round=record.round,
                    local_steps=steps,
                    accuracy=record.test_accuracy,
                    accuracy_compressed=record.test_accuracy_compressed,
                    test_loss=record.test_loss,
                    train_loss=record.train_loss,
                    **sums,
                    device=device,
                    seconds=seconds,
                    total_cost=count + TAU * steps,
                )
            )
    return points
