"""Round records for the tests."""

from fedcomloc_mpi.metrics import DirectionBytes, MaxSum, RoundRecord


def record(
    round: int = 1,
    accuracy: float | None = None,
    compressed: float | None = None,
    train_loss: float | None = 0.75,
    cohort: tuple[int, ...] = (3, 14),
    uplink_payload: int = 900,
    downlink_payload: int = 1300,
) -> RoundRecord:
    """Return a round of 2.5 s; every byte count differs, so that none can stand in for another."""
    return RoundRecord(
        round=round,
        local_steps=11,
        cohort=cohort,
        train_loss=train_loss,
        control_sum_norm=1e-6,
        uplink=DirectionBytes(800.125, 801.5, uplink_payload, 1000, coders={"tokens": 2, "float32": 2}),
        downlink=DirectionBytes(1200.0, 1201.5, downlink_payload, 1400, 1500),
        server_seconds={"encode": 0.25, "wait": 1.75, "other": 0.5},
        client_seconds={"compute": MaxSum(1.5, 2.75), "wait": MaxSum(0.5, 0.625)},
        test_loss=None if accuracy is None else 0.5,
        test_accuracy=accuracy,
        test_accuracy_compressed=compressed,
    )
