"""Which configuration is the most accurate at equal bytes, and what each needs to reach an accuracy."""

from collections.abc import Callable, Sequence
from statistics import mean

from fedcomloc_mpi.reporting import Point

Measure = Callable[[Point], float]
Curves = Sequence[Sequence[Point]]  # one curve for each seed


def accuracy_within(curves: Curves, measure: Measure, budget: float) -> float | None:
    """Return the mean over seeds of the accuracy at the last evaluation within the budget.

    None if there is no curve, or a seed has no evaluation within it. A run that ends below the budget keeps its last
    accuracy: bytes that it does not need are not held against it.
    """
    reached = []
    for curve in curves:
        within = [p.accuracy for p in curve if p.accuracy is not None and measure(p) <= budget]
        if not within:
            return None
        reached.append(within[-1])
    return mean(reached) if reached else None


def needed_for(curves: Curves, measure: Measure, accuracy: float) -> float | None:
    """Return the mean over seeds of what the first evaluation with this accuracy had cost; None if a seed has none."""
    needed = []
    for curve in curves:
        first = next((measure(p) for p in curve if p.accuracy is not None and p.accuracy >= accuracy), None)
        if first is None:
            return None
        needed.append(first)
    return mean(needed) if needed else None
