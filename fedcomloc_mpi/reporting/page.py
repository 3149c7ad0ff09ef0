"""The report: one HTML page that needs no other file, the plots as files, and the figures as CSV."""

import html
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from fedcomloc_mpi.atomic_file import atomic_write
from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.reporting.plots import PLOTS, render, require_matplotlib
from fedcomloc_mpi.reporting.run import Run
from fedcomloc_mpi.reporting.style import DARK, LIGHT, STAND_INS, variables, with_variables
from fedcomloc_mpi.reporting.tables import HEADINGS, cells, write_csv

_FACTS = ("source_version", "started", "ranks", "mpi_library", "cpu", "cpus_available")
_STYLE = """
:root { color-scheme: light dark; %(light)s }
@media (prefers-color-scheme: dark) { :root { %(dark)s } }
@media print { :root { color-scheme: light; %(light)s } figure, tr { break-inside: avoid } }
body { background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  max-width: 68rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.5rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .75rem .25rem 0; text-align: right; border-bottom: 1px solid var(--grid); vertical-align: top }
th:first-child, td:first-child, .text th, .text td { text-align: left }
figure { margin: 0 } figcaption { color: var(--faint); font-size: .9rem; max-width: 45rem }
svg { width: 100%%; height: auto; min-width: 40rem }
svg text { font-family: system-ui, sans-serif !important }
"""


def write_report(folder: Path, runs: Sequence[Run]) -> Path:
    """Write report.html, rounds.csv and every plot as PNG and SVG into `folder`; return the page's path.

    runs: at least one, with labels. Raises UserError without matplotlib, or where nothing can be written.
    """
    require_matplotlib()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create {folder}: {error.strerror}") from error
    for plot in PLOTS:
        for format in ("svg", "png"):
            atomic_write(folder / f"{plot.name}.{format}", render(plot, runs, LIGHT, format))
    write_csv(folder / "rounds.csv", runs)
    page = folder / "report.html"
    atomic_write(page, _page(runs))
    return page


def _page(runs: Sequence[Run]) -> str:
    title = runs[0].label if len(runs) == 1 else f"{len(runs)} runs"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}: fedcomloc_mpi report</title>",
        f"<style>{_STYLE % {'light': variables(LIGHT), 'dark': variables(DARK)}}</style></head><body>",
        f"<h1>{html.escape(title)}</h1>",
        f"<p>Made by fedcomloc_mpi.report, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. Bytes in the table are encoded"
        " messages, headers included. Total cost: 1 for each round and 0.01 for each local step.</p>",
        _table(HEADINGS, (cells(run) for run in runs)),
    ]
    for plot in PLOTS:
        drawing = with_variables(render(plot, runs, STAND_INS, "svg").decode())
        parts += [
            f"<h2>{html.escape(plot.heading)}</h2>",
            f'<figure><div class="wide" role="img" aria-label="{html.escape(plot.heading)}">{drawing}</div>',
            f"<figcaption>{html.escape(plot.caption)}</figcaption></figure>",
        ]
    parts += [
        "<h2>Settings</h2>",
        *_settings(runs),
        "<h2>Where they ran</h2>",
        _environment(runs),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _settings(runs: Sequence[Run]) -> Iterable[str]:
    """Yield a table of the settings in which runs differ, and one of those that all share."""
    names = sorted({name for run in runs for name in run.config})
    values = {name: [str(run.config.get(name, "-")) for run in runs] for name in names}
    differing = [name for name in names if len(set(values[name])) > 1]
    if differing:
        rows = ((run.label, *(values[name][index] for name in differing)) for index, run in enumerate(runs))
        yield _table(("run", *differing), rows, text=True)
    shared = ((name, values[name][0]) for name in names if name not in differing)
    heading = "setting", "all runs" if len(runs) > 1 else "value"
    yield f"<details><summary>All other settings</summary>{_table(heading, shared, text=True)}</details>"


def _environment(runs: Sequence[Run]) -> str:
    rows = ((run.label, *(_first_line(run.environment.get(fact, "-")) for fact in _FACTS)) for run in runs)
    return _table(("run", *(fact.replace("_", " ") for fact in _FACTS)), rows, text=True)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], text: bool = False) -> str:
    head = "".join(f'<th scope="col">{html.escape(heading)}</th>' for heading in headings)
    body = "\n".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    kind = ' class="text"' if text else ""
    return f'<div class="wide"><table{kind}><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _first_line(value: object) -> str:
    return str(value).partition("\n")[0][:80]
