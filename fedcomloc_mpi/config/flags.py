"""The command line.

Not argparse: it takes abbreviations, reads "-1e-3" as a flag, and answers mistakes with its whole usage text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fedcomloc_mpi.config.options import Value, nearest, shown
from fedcomloc_mpi.config.table import OPTIONS
from fedcomloc_mpi.errors import UserError

COMMANDS: dict[str, str] = {
    "--config FILE": "read options from a TOML file; a flag wins over the file",
    "--print-config": "show every option's value and where it comes from, as TOML, and exit",
    "--help": "show this text and exit",
    "--version": "show the version and exit",
}
"""Flags that are not options: they have no TOML key."""

_FLAGS = {option.flag: option for option in OPTIONS.values()}
_NEGATED = {"--no-" + option.flag[2:]: option for option in OPTIONS.values() if option.kind is bool}
_COMMAND_FLAGS = tuple(command.split()[0] for command in COMMANDS)


@dataclass
class CommandLine:
    """What the command line says: checked values by option name, and what to do."""

    values: dict[str, Value] = field(default_factory=dict)
    config_file: str | None = None
    show_help: bool = False
    show_version: bool = False
    print_config: bool = False


def parse_flags(argv: Sequence[str]) -> CommandLine:
    """Read the arguments after the program's name: --flag value, --flag=value, and --flag for yes or no.

    The last of several equal flags counts. A value may start with one dash (-1e-3) but not with two, except
    as --flag=--value. Raises UserError.
    """
    line = CommandLine()
    # Whoever asks for help gets it, whatever else is wrong.
    line.show_help = "--help" in argv or "-h" in argv
    line.show_version = "--version" in argv
    if line.show_help or line.show_version:
        return line
    arguments = list(reversed(argv))
    while arguments:
        argument = arguments.pop()
        flag, equals, text = argument.partition("=")
        if not flag.startswith("-") or flag in ("-", "--"):
            raise UserError(
                f"unexpected argument {shown(argument)}: every value follows a flag, as in --rounds 100"
            )
        if flag == "--config":
            if line.config_file is not None:
                raise UserError("--config is given twice: only one file can be read")
            line.config_file = text if equals else _value_of(flag, "a TOML file", arguments)
        elif flag == "--print-config" or flag in _NEGATED or (flag in _FLAGS and _FLAGS[flag].kind is bool):
            if equals:
                raise UserError(f"{flag} takes no value, but {shown(text)} is given")
            if flag == "--print-config":
                line.print_config = True
            else:
                option = _NEGATED.get(flag) or _FLAGS[flag]
                line.values[option.name] = flag not in _NEGATED
        elif flag in _FLAGS:
            option = _FLAGS[flag]
            value = text if equals else _value_of(flag, option.requirement, arguments)
            line.values[option.name] = option.parse(value, flag)
        else:
            raise UserError(f"unknown flag {shown(flag)}{_suggestion(flag)}")
    return line


def _value_of(flag: str, requirement: str, arguments: list[str]) -> str:
    if not arguments or arguments[-1].startswith("--"):
        raise UserError(f"{flag} needs a value: it must be {requirement}")
    return arguments.pop()


def _suggestion(flag: str) -> str:
    flags = {
        "--" + alias.replace("_", "-"): option.flag for option in OPTIONS.values() for alias in option.also
    }
    flags |= {known: known for known in (*_FLAGS, *_NEGATED, *_COMMAND_FLAGS)}
    near = nearest("--" + flag.lstrip("-"), flags)
    return f": did you mean {flags[near]}?" if near else ": --help lists every flag"
