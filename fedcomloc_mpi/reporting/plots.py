"""The plots of a report, as matplotlib figures in the colours of a theme."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.reporting.curves import Point
from fedcomloc_mpi.reporting.run import Run
from fedcomloc_mpi.reporting.style import colour, mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Theme = Mapping[str, str]
_KINDS = ("payload", "paper", "bound", "mpi")
# The parts of a round, largest first in most runs; what is not here is shown as "other".
_PARTS = ("compute", "wait", "evaluate", "encode", "decode", "aggregate", "update")


class Plot(NamedTuple):
    """A plot: its file name, heading, and what a reader should know; `draw` makes the figure."""

    name: str
    heading: str
    caption: str
    draw: Callable[[Sequence[Run], Theme], "Figure"]


def require_matplotlib() -> None:
    """Raise UserError if there is no matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UserError(
            "plots need matplotlib: pip install 'fedcomloc_mpi[report]' (--table prints the table without it)"
        ) from error


def render(plot: Plot, runs: Sequence[Run], theme: Theme, format: str) -> bytes:
    """Return the plot as an "svg" or "png" file."""
    import matplotlib

    settings: Any = {
        # Text stays text. Names inside the drawing differ from plot to plot and are the same in every report.
        "svg.fonttype": "none",
        "svg.hashsalt": plot.name,
        "font.family": "sans-serif",
        "font.size": 10.0,
        "text.color": theme["ink"],
        "axes.labelcolor": theme["ink"],
        "axes.edgecolor": theme["faint"],
        "axes.facecolor": "none",
        "xtick.color": theme["faint"],
        "ytick.color": theme["faint"],
        "xtick.labelcolor": theme["ink"],
        "ytick.labelcolor": theme["ink"],
        "grid.color": theme["grid"],
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
    }
    with matplotlib.rc_context(settings):
        figure = plot.draw(runs, theme)
        file = io.BytesIO()
        metadata = {"Date": None} if format == "svg" else {}
        figure.savefig(
            file,
            format=format,
            dpi=150,
            metadata=metadata,
            facecolor="none" if format == "svg" else theme["ground"],
        )
    return file.getvalue()


def _accuracy(runs: Sequence[Run], theme: Theme) -> "Figure":
    figure, axes = _figure(1, 3, height=3.6)
    against: tuple[tuple[str, Callable[[Point], float]], ...] = (
        ("rounds", lambda point: point.round),
        ("payload, MB, both directions", lambda point: point.payload / 1e6),
        ("seconds", lambda point: point.seconds),
    )
    for ax, (label, measure) in zip(axes, against, strict=True):
        for index, run in enumerate(runs):
            for name, dashes in (("accuracy", "-"), ("accuracy_compressed", ":")):
                points = [point for point in run.curve if getattr(point, name) is not None]
                ax.plot(
                    [measure(point) for point in points],
                    [getattr(point, name) for point in points],
                    dashes,
                    color=colour(theme, index),
                    linewidth=1.6,
                    marker=mark(index) if dashes == "-" else None,
                    markersize=4.5,
                    markevery=max(1, len(points) // 8),
                    label=_plain(run.label) if dashes == "-" else None,
                )
        ax.set_xlabel(label)
    axes[1].set_xscale("log")
    axes[0].set_ylabel("test accuracy")
    _legend(figure, axes[0], len(runs))
    return figure


def _bytes(runs: Sequence[Run], theme: Theme) -> "Figure":
    figure, axes = _figure(1, 2, height=2.0 + 0.25 * len(runs))
    for ax, side, kinds in ((axes[0], "uplink", _KINDS), (axes[1], "downlink", (*_KINDS, "device"))):
        for index, run in enumerate(runs):
            values = [
                run.last.device if kind == "device" else getattr(run.last, f"{side}_{kind}") for kind in kinds
            ]
            # One below the other within a kind, so that equal figures do not hide each other.
            shift = 0.8 * ((index + 0.5) / len(runs) - 0.5)
            shown = [(value / 1e6, row + shift) for row, value in enumerate(values) if value > 0]
            ax.plot(
                [value for value, _ in shown],
                [row for _, row in shown],
                mark(index),
                color=colour(theme, index),
                markersize=6,
                label=_plain(run.label),
            )
        ax.set_xscale("log")
        ax.set_yticks(range(len(kinds)), kinds)
        ax.set_ylim(len(kinds) - 0.5, -0.5)
        ax.set_xlabel("MB")
        ax.set_title(side, loc="left", fontsize=10)
    _legend(figure, axes[0], len(runs))
    return figure


def _time(runs: Sequence[Run], theme: Theme) -> "Figure":
    figure, axes = _figure(1, 2, height=1.5 + 0.3 * len(runs), share_y=True)
    sides: tuple[tuple[str, Callable[[Run], dict[str, float]]], ...] = (
        ("server", Run.server_seconds),
        ("clients: the slowest rank of each round", Run.client_seconds),
    )
    used: dict[str, Any] = {}
    for ax, (title, measure) in zip(axes, sides, strict=True):
        left = [0.0] * len(runs)
        grouped = [_grouped(measure(run)) for run in runs]
        for index, part in enumerate((*_PARTS, "other")):
            widths = [seconds.get(part, 0.0) for seconds in grouped]
            if any(widths):
                used[part] = ax.barh(
                    range(len(runs)),
                    widths,
                    left=left,
                    height=0.7,
                    color=colour(theme, index),
                    edgecolor=theme["ground"],
                    linewidth=0.6,
                )
                left = [start + width for start, width in zip(left, widths, strict=True)]
        ax.set_xlabel("seconds")
        ax.set_title(title, loc="left", fontsize=10)
        ax.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(runs)), [_plain(run.label) for run in runs])
    axes[0].set_ylim(len(runs) - 0.5, -0.5)
    order = [part for part in (*_PARTS, "other") if part in used]
    figure.legend(
        [used[part] for part in order], order, loc="outside lower center", ncols=len(order), fontsize=9
    )
    return figure


def _participation(runs: Sequence[Run], theme: Theme) -> "Figure":
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(1, 1, height=2.8)
    ax = axes[0]
    # Runs of one seed draw the same cohorts: one line for all of them.
    patterns: dict[tuple[tuple[int, int], ...], list[Run]] = {}
    for run in runs:
        patterns.setdefault(tuple(run.participation().items()), []).append(run)
    if len(patterns) == 1:
        (pattern,) = patterns
        ax.bar([client for client, _ in pattern], [count for _, count in pattern], color=colour(theme, 0))
        ax.set_xlabel("client")
    else:
        for pattern, same in patterns.items():
            counts = sorted((count for _, count in pattern), reverse=True)
            label = _plain(same[0].label) + (f" and {len(same) - 1} more" if len(same) > 1 else "")
            ax.step(
                range(len(counts)), counts, where="mid", color=colour(theme, runs.index(same[0])), label=label
            )
        ax.set_xlabel("clients, the most frequent first")
        _legend(figure, ax, len(patterns))
    ax.set_ylabel("rounds taken part in")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    return figure


PLOTS = (
    Plot(
        "accuracy",
        "Accuracy against what it cost",
        "Test accuracy of the model (solid) and of the compressed model (dotted).",
        _accuracy,
    ),
    Plot(
        "bytes",
        "Bytes by direction and kind",
        "Sums over the run. payload: encoded messages with their headers; paper: entries kept x bits, indices free;"
        " bound: the least for a support that the receiver cannot guess; mpi: what MPI delivered; device: downlink if"
        " clients came and went.",
        _bytes,
    ),
    Plot(
        "time",
        "Where the time went",
        "The server's parts add up to the run; its wait is the time in which clients compute. The clients' parts are"
        " sums over rounds of the slowest rank's.",
        _time,
    ),
    Plot("participation", "Who took part", "Rounds in which each client was in the cohort.", _participation),
)


def _figure(
    rows: int, columns: int, *, height: float, share_y: bool = False
) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=share_y)
    return figure, list(axes.flat)


def _legend(figure: "Figure", ax: "Axes", count: int) -> None:
    """Put the names of the runs below all plots, where they hide nothing; the figure grows for them."""
    if count < 2:
        return
    handles, labels = ax.get_legend_handles_labels()
    columns = max(1, min(4, 110 // (max(map(len, labels)) + 6)))
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.2 * -(-count // columns))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=9)


def _grouped(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds by _PARTS, and all else under "other"."""
    found = {part: value for part, value in seconds.items() if part in _PARTS}
    return found | {"other": sum(value for part, value in seconds.items() if part not in _PARTS)}


def _plain(label: str) -> str:
    """Without what matplotlib would read as mathematics, or as a legend entry to leave out."""
    return label.replace("$", r"\$").lstrip("_")
