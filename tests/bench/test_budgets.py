from dataclasses import replace

from bench.budgets import accuracy_within, needed_for
from fedcomloc_mpi.reporting import Point, curve
from tests.reporting.folders import record

START = curve([record(2)])[0]


def points(*pairs: tuple[int, float | None]) -> list[Point]:
    return [replace(START, uplink_payload=up, accuracy=accuracy) for up, accuracy in pairs]


def up(point: Point) -> float:
    return point.uplink_payload


def test_the_last_evaluation_within_the_budget_counts() -> None:
    run = points((10, 0.5), (20, 0.9), (30, 0.7), (40, None))
    assert [accuracy_within([run], up, budget) for budget in (9, 10, 29, 30, 1000)] == [
        None,
        0.5,
        0.9,
        0.7,
        0.7,
    ]


def test_seeds_are_averaged_and_none_is_left_out() -> None:
    runs = [points((10, 0.5)), points((20, 0.25))]
    assert accuracy_within(runs, up, 20) == 0.375
    assert accuracy_within(runs, up, 19) is None
    assert accuracy_within([], up, 19) is None


def test_what_an_accuracy_costs() -> None:
    runs = [points((10, 0.5), (20, 0.8), (30, 0.6)), points((40, 0.8))]
    assert needed_for(runs, up, 0.8) == 30
    assert needed_for(runs, up, 0.81) is None
    assert needed_for(runs, up, 0.1) == 25
