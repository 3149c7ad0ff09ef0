"""Configurations as TOML (version 1.0): one flat table, a key for each option."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from fedcomloc_mpi.config.options import Value, nearest, printable, shown
from fedcomloc_mpi.config.table import OPTIONS
from fedcomloc_mpi.config.tree import Config, to_flat
from fedcomloc_mpi.errors import UserError

_LARGEST_FILE = 1 << 20  # bytes; a configuration has about 2000
_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def to_toml(config: Config) -> str:
    """Return the contents of config.toml: every resolved value that identifies the run, one key a line.

    Reading it back gives the same configuration exactly, `out` aside, which is not recorded. Options that are
    not set are left out, for TOML has no null.
    """
    flat = to_flat(config)
    return "".join(
        f"{name} = {format_value(value)}\n"
        for name, value in flat.items()
        if value is not None and OPTIONS[name].saved
    )


def format_value(value: bool | int | float | str) -> str:
    """Return one value in TOML's notation; a float keeps all its bits."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(_escaped(character) for character in value) + '"'
    return repr(value)


def read_toml(path: str) -> dict[str, Value]:
    """Return the checked values of a configuration file, by option name. Raises UserError.

    Keys may be written with "-" or "_" inside.
    """
    place = printable(path)
    try:
        with Path(path).open("rb") as file:
            contents = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UserError(f"--config: cannot read {place}: {reason}") from None
    if len(contents) > _LARGEST_FILE:
        raise UserError(
            f"--config: {place} is larger than {_LARGEST_FILE} bytes: it cannot be a configuration"
        )
    return check_table(parse_toml(contents, place), place)


def parse_toml(contents: bytes, place: str) -> dict[str, object]:
    """Return the top-level table of a TOML document; `place` names it in messages. Raises UserError."""
    try:
        return tomllib.loads(contents.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{place} is not valid TOML: byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise UserError(f"{place} is not valid TOML: nested too deeply") from None
    except ValueError as error:
        raise UserError(f"{place} is not valid TOML: {' '.join(str(error).split())}") from None


def check_table(table: Mapping[str, object], place: str) -> dict[str, Value]:
    """Return the values of a flat table by option name, checked one by one. Raises UserError."""
    values: dict[str, Value] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if isinstance(value, dict):
            raise UserError(
                f"{place} has a section {shown(key)}: it must be one flat table of keys, without sections"
            )
        if name not in OPTIONS:
            raise UserError(f"{place} has an unknown key {shown(key)}{suggestion(name)}")
        if name in values:
            raise UserError(f"{place} has {name} twice, once with '-' and once with '_'")
        values[name] = OPTIONS[name].check(value, f"{name} in {place}")
    return values


def suggestion(name: str) -> str:
    """Return the end of a message about an unknown key: the nearest known one, or where to find them all."""
    names = {alias: option.name for option in OPTIONS.values() for alias in (option.name, *option.also)}
    near = nearest(name, names)
    return f": did you mean {names[near]}?" if near else ": --help lists every key, as flags"


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    return f"\\u{ord(character):04X}" if character < " " or character == "\x7f" else character
