"""Plots of the study: accuracy against rounds, bytes and total cost, with a band over seeds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from fedcomloc_mpi.reporting import Point
from fedcomloc_mpi.reporting.style import LIGHT, colour, mark

AGAINST: dict[str, Callable[[Point], float]] = {
    "rounds": lambda point: point.round,
    "total cost": lambda point: point.total_cost,
    "payload up, MB": lambda point: point.uplink_payload / 1e6,
    "payload both directions, MB": lambda point: point.payload / 1e6,
}


class Line(NamedTuple):
    """A configuration: its curves, one for each seed, are drawn as their mean within a band."""

    name: str
    curves: Sequence[Sequence[Point]]


def banded(curves: Sequence[Sequence[Point]], measure: Callable[[Point], float]) -> list[tuple[float, ...]]:
    """Return (measure, mean, lowest, highest accuracy) for each round that every seed has evaluated."""
    by_round: dict[float, list[Point]] = {}
    for curve in curves:
        for point in curve:
            if point.accuracy is not None:
                by_round.setdefault(point.round, []).append(point)
    return [
        (mean(map(measure, points)), mean(reached), min(reached), max(reached))
        for points in by_round.values()
        if len(points) == len(curves)
        for reached in [[point.accuracy for point in points if point.accuracy is not None]]
    ]


def plot(path: Path, lines: Sequence[Line]) -> None:
    """Write a PNG with a panel for each of AGAINST."""
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(11.0, 7.5 + 0.08 * len(lines)), layout="constrained")
        axes = list(figure.subplots(2, 2).flat)
        for ax, (label, measure) in zip(axes, AGAINST.items(), strict=True):
            for index, line in enumerate(lines):
                points = banded(line.curves, measure)
                x, middle, low, high = zip(*points, strict=True) if points else ((), (), (), ())
                kind = {
                    "color": colour(LIGHT, index),
                    "marker": mark(index),
                    "markevery": max(1, len(x) // 8),
                }
                ax.plot(x, middle, linewidth=1.5, markersize=4.5, label=line.name, **kind)
                ax.fill_between(x, low, high, color=kind["color"], alpha=0.15, linewidth=0)
            ax.set_xlabel(label)
            ax.grid(color=LIGHT["grid"])
            if "payload" in label:
                ax.set_xscale("log")
        for ax in axes[::2]:
            ax.set_ylabel("test accuracy")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110, metadata={"Software": None})
