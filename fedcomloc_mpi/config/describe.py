"""The configuration for people: --help, --version, --print-config, and the table of docs/configuration.md."""

import shutil
import textwrap

from fedcomloc_mpi import __version__
from fedcomloc_mpi.config.datasets import DATASETS
from fedcomloc_mpi.config.flags import COMMANDS
from fedcomloc_mpi.config.options import Option, Value
from fedcomloc_mpi.config.resolve import Resolved
from fedcomloc_mpi.config.table import GROUPS
from fedcomloc_mpi.config.toml import format_value
from fedcomloc_mpi.config.tree import to_flat

_TITLES = {
    "algorithm": "Algorithm",
    "compression": "Compression (each direction follows the general flags unless it has its own)",
    "data": "Data and model",
    "runtime": "Run",
}
_HELP_COLUMN = 30
_SOURCE_COLUMN = 50


def help_text() -> str:
    """Return the whole help, grouped, wrapped to the terminal."""
    width = max(60, min(shutil.get_terminal_size().columns, 110))
    parts = [
        "usage: mpirun -n RANKS python -m fedcomloc_mpi.train [--flag value ...]",
        "Federated training with compressed models. Rank 0 is the server; the other ranks host the clients.",
    ]
    parts = [textwrap.fill(part, width) for part in parts]
    for group, options in GROUPS.items():
        entries = [
            (_synopsis(option), f"{option.help} ({_allowed_and_default(option)})") for option in options
        ]
        parts.append(_section(_TITLES[group], entries, width))
    parts.append(_section("Configuration", list(COMMANDS.items()), width))
    keys = "Keys of the TOML file: the flags without the leading dashes, with _ inside, in one flat table."
    parts.append(textwrap.fill(keys, width))
    return "\n\n".join(parts) + "\n"


def version_text() -> str:
    """Return the program's name and version."""
    return f"fedcomloc_mpi {__version__}"


def resolved_text(resolved: Resolved) -> str:
    """Return every option's value with its source as a comment: TOML that --config reads back."""
    values = to_flat(resolved.config)
    paragraphs = []
    for group, options in GROUPS.items():
        lines = [
            (_assignment(option, values[option.name]), resolved.sources[option.name]) for option in options
        ]
        column = max(len(assignment) for assignment, _ in lines if len(assignment) <= _SOURCE_COLUMN)
        text = "".join(f"{assignment:<{column}}  # {source}\n" for assignment, source in lines)
        paragraphs.append(f"# {_TITLES[group]}\n{text}")
    return "\n".join(paragraphs)


def markdown_table() -> str:
    """Return the table of every flag in docs/configuration.md."""
    rows = [
        _row(
            f"`{option.flag} {option.metavar}`".replace(" `", "`"),
            _allowed(option),
            _default(option),
            option.help,
        )
        for options in GROUPS.values()
        for option in options
    ]
    rows += [_row(f"`{command}`", "", "", text) for command, text in COMMANDS.items()]
    return "\n".join([_row("flag", "allowed", "default", "meaning"), "|---|---|---|---|", *rows, ""])


def _assignment(option: Option, value: Value) -> str:
    if value is None:
        return f"# {option.name}: {option.unset}"
    return f"{option.name} = {format_value(value)}"


def _section(title: str, entries: list[tuple[str, str]], width: int) -> str:
    lines = [f"{title}:"]
    for synopsis, text in entries:
        wrapped = textwrap.wrap(text, width - _HELP_COLUMN, break_on_hyphens=False)
        left = f"  {synopsis}"
        if len(left) > _HELP_COLUMN - 2:
            lines.append(left)
            left = ""
        lines.append(f"{left:<{_HELP_COLUMN}}{wrapped[0]}")
        lines += [" " * _HELP_COLUMN + line for line in wrapped[1:]]
    return "\n".join(lines)


def _synopsis(option: Option) -> str:
    return (
        f"{option.flag}, --no-{option.flag[2:]}" if option.kind is bool else f"{option.flag} {option.metavar}"
    )


def _allowed(option: Option) -> str:
    if option.kind is bool:
        return f"or `--no-{option.flag[2:]}`"
    return "a path" if option.kind is str and option.choices is None else option.requirement


def _allowed_and_default(option: Option) -> str:
    allowed = "" if option.kind is bool or _allowed(option) == "a path" else f"{_allowed(option)}; "
    return allowed + (f"if not given: {option.unset}" if option.optional else f"default: {_default(option)}")


def _default(option: Option) -> str:
    if option.by_dataset:
        return _default_by_dataset(option)
    if option.follows is not None:
        general = "--" + option.follows.replace("_", "-")
        if option.neutral is None:
            return f"as {general}"
        return (
            f"as {general} if the algorithm compresses the {option.direction}, else {_plain(option.neutral)}"
        )
    if option.default is None:
        return option.unset
    if option.neutral is not None and option.neutral != option.default:
        return f"{_plain(option.default)}; {_plain(option.neutral)} for algorithms without compression"
    return _plain(option.default)


def _default_by_dataset(option: Option) -> str:
    by_value: dict[Value, list[str]] = {}
    for dataset, defaults in DATASETS.items():
        by_value.setdefault(getattr(defaults, option.name), []).append(dataset)
    if len(by_value) == 1:
        return _plain(next(iter(by_value)))
    return "; ".join(f"{_plain(value)} for {', '.join(datasets)}" for value, datasets in by_value.items())


def _plain(value: Value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"
