"""From the command line to a configuration."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from fedcomloc_mpi.config.describe import help_text, resolved_text, version_text
from fedcomloc_mpi.config.flags import parse_flags
from fedcomloc_mpi.config.options import printable
from fedcomloc_mpi.config.resolve import Resolved, resolve
from fedcomloc_mpi.config.resume import resume_config
from fedcomloc_mpi.config.toml import read_toml
from fedcomloc_mpi.errors import UserError


def load_config(argv: Sequence[str]) -> Resolved:
    """Return the configuration that the command line (without the program's name) asks for.

    --help, --version and --print-config print to standard output and raise SystemExit(0): under MPI, call
    this on one rank only. Raises UserError, with a message of one line, for anything that is wrong.
    """
    line = parse_flags(argv)
    if line.show_help or line.show_version:
        _show(help_text() if line.show_help else version_text() + "\n")
    folder = line.values.get("resume")
    if isinstance(folder, str):
        resolved = resume_config(folder, line)
    else:
        path = line.config_file
        base = {} if path is None else read_toml(path)
        if base.get("resume") is not None:
            raise UserError(f"resume in {printable(str(path))}: it must be a flag, --resume {base['resume']}")
        resolved = resolve(line.values, base, "flag", "" if path is None else f"file {printable(path)}")
    if line.print_config:
        _show(resolved_text(resolved))
    return resolved


def _show(text: str) -> NoReturn:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough: --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(0)
