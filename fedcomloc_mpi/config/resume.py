"""The configuration of a run that goes on: that of its folder, and what the command line changes."""

from pathlib import Path

from fedcomloc_mpi.config.flags import CommandLine
from fedcomloc_mpi.config.options import printable, shown
from fedcomloc_mpi.config.resolve import Resolved, resolve
from fedcomloc_mpi.config.table import OPTIONS
from fedcomloc_mpi.config.toml import read_toml
from fedcomloc_mpi.config.tree import to_flat
from fedcomloc_mpi.errors import UserError


def resume_config(folder: str, line: CommandLine) -> Resolved:
    """Return the configuration for --resume `folder`. Raises UserError if it changes what must stay as it was."""
    for flag, given in (("--config", line.config_file), ("--out", line.values.get("out"))):
        if given is not None:
            raise UserError(
                f"{flag} and --resume exclude each other: a run goes on in its folder, with its settings"
            )
    path = Path(folder) / "config.toml"
    if not path.is_file():
        raise UserError(
            f"--resume {printable(folder)}: no run is there (no config.toml); name the folder of a run"
        )
    saved = read_toml(str(path))
    if not saved:
        raise UserError(
            f"--resume {printable(folder)}: its config.toml is empty, since the run was cut off as it began; remove the"
            " folder and start the run anew"
        )
    resolved = resolve(line.values, saved, "flag", f"file {printable(str(path))}")
    if line.values.get("allow_config_change"):
        return resolved
    for name, value in to_flat(resolved.config).items():
        option = OPTIONS[name]
        before = saved.get(name, None if option.optional else value)
        if option.saved and not option.may_change and value != before:
            raise UserError(
                f"--resume {printable(folder)}: {name} is {shown(before)} there and cannot become {shown(value)},"
                " which would change the results; --allow-config-change permits it"
            )
    return resolved
