from fedcomloc_mpi.reporting import TAU, curve
from tests.reporting.folders import record


def test_figures_are_sums_from_the_first_round_on() -> None:
    points = curve([record(number) for number in range(1, 6)])
    assert [point.round for point in points] == [2, 4, 5]  # the last is there, evaluated or not
    second = points[1]
    assert second.local_steps == 11 + 12 + 13 + 14
    assert second.total_cost == 4 + TAU * second.local_steps
    assert (second.uplink_payload, second.uplink_mpi, second.uplink_bound) == (10_000, 11_000, 482.0)
    assert (second.downlink_payload, second.device, second.seconds) == (8000, 12_000, 3.5)
    assert second.payload == 18_000
    assert (second.accuracy, points[2].accuracy) == (0.75, None)


def test_no_rounds_give_no_points() -> None:
    assert curve([]) == []
