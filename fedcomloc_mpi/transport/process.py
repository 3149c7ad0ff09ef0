"""What the operating system says of a process of this host."""

from pathlib import Path

_PROC = Path("/proc")
_STATES = {
    "T": "stopped by a signal",
    "t": "stopped by a debugger",
    "Z": "dead",
    "X": "dead",
    "D": "waiting for a device",
}


def condition(process: int, proc: Path = _PROC) -> str | None:
    """Return why a process cannot answer: stopped, dead, ended; None if nothing is wrong or it cannot be told."""
    if not proc.exists():
        return None
    try:
        # The name in field 2 may hold spaces and brackets; the state follows it.
        state = (proc / str(process) / "stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "ended"
    except (OSError, IndexError):
        return None
    return _STATES.get(state)
