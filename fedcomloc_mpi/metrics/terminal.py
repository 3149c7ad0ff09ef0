"""Whether somebody watches: under mpirun a rank's output is a pipe, also when mpirun itself has a
terminal."""

import os
from pathlib import Path

_PROXIES = ("hydra_pmi_proxy",)
_LAUNCHERS = ("mpirun", "mpiexec", "mpiexec.hydra", "orterun", "prterun")
_PROC = Path("/proc")


def on_terminal(descriptor: int, proc: Path = _PROC) -> bool:
    """Return whether what is written to `descriptor` (1 or 2) ends on a terminal.

    True for a terminal, and for a pipe to an MPI launcher of this host whose own descriptor is one. False if
    it cannot be told (other systems, several hosts). `proc` is for tests.
    """
    if os.isatty(descriptor):
        return True
    parent = os.getppid()
    while parent > 1:
        try:
            name = (proc / str(parent) / "comm").read_text().strip()
            if name in _LAUNCHERS:
                leads_to = str((proc / str(parent) / "fd" / str(descriptor)).readlink())
                return leads_to.startswith(("/dev/pts/", "/dev/tty"))
            if name not in _PROXIES:
                return False
            # The name in field 2 may hold spaces and brackets; the parent is the second field after it.
            parent = int((proc / str(parent) / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return False
    return False
