"""What a run ran on: the contents of environment.json."""

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "mpi4py", "mpich")
_PROJECT = "fedcomloc_mpi"
_PACKAGE_FOLDER = Path(__file__).resolve().parent.parent


def describe_environment(
    *,
    mpi_library: str,
    hosts: Sequence[str],
    coders: Mapping[str, Any],
    threads: int,
    bitwise: bool,
    device: str = "cpu",
    started: datetime | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the JSON object of environment.json.

    mpi_library: what MPI_Get_library_version says. hosts: the host name of each rank, in rank order. coders:
    names of the coders in use. bitwise: whether the run repeats bit for bit. device: what models are trained on, "cuda"
    if some rank has a GPU. started: in UTC, default now. extra: further keys.
    """
    return {
        "started": f"{started or datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "command": shlex.join(sys.orig_argv),
        "source_version": source_version(),
        "source_sha256": _source_sha256(),
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
        "mpi_library": mpi_library.rstrip("\x00\n "),
        "ranks": len(hosts),
        "hosts": sorted(set(hosts)),
        "host_of_rank": list(hosts),
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "cpus_available": _cpus_available(),
        "threads": threads,
        "device": device,
        "coders": dict(coders),
        "bitwise": bitwise,
        **(extra or {}),
    }


def startup_line(
    *,
    title: str,
    ranks: int,
    clients: int,
    cohort: int,
    threads: int,
    mpi_library: str,
    coders: Sequence[str],
    coders_left_out: Sequence[str] = (),
    hosts: int = 1,
    ranks_on_gpus: int = 0,
) -> str:
    """Return the line that a run starts with: ranks, clients per rank, threads, MPI library, coders.

    clients: of all ranks together; rank 0 is the server and has none. mpi_library: as for `describe_environment`.
    coders_left_out: those that other installations or settings would use as well.
    """
    per_rank = clients / (ranks - 1)
    shown = f"{per_rank:.0f}" if per_rank == int(per_rank) else f"{per_rank:.1f}"
    without = f" (without {', '.join(coders_left_out)})" if coders_left_out else ""
    where = f" on {hosts} hosts" if hosts > 1 else ""
    where += f" ({ranks_on_gpus} with a GPU)" if ranks_on_gpus else ""
    return (
        f"{title}: {ranks} ranks{where}, {shown} client{'' if shown == '1' else 's'} per rank "
        f"(cohort {cohort}), {threads} thread{'' if threads == 1 else 's'} per rank, "
        f"{short_mpi_library(mpi_library)}, "
        f"coders {', '.join(coders)}{without}"
    )


def short_mpi_library(library: str) -> str:
    """Return the name and version in MPI_Get_library_version's text, such as "MPICH 5.0.1"."""
    first = library.strip("\x00\n ").partition("\n")[0].partition(",")[0]
    return " ".join(first.replace(" Version:", " ").replace("\x00", "").split())


def source_version() -> str:
    """Return what git describes, if the package lies in a checkout of its own; else the package's version."""
    root = _PACKAGE_FOLDER.parent
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--tags"]
        # Optional locks would let several ranks or jobs get in the way of the user's own git.
        quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
        try:
            done = subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            pass  # no git, no commit yet, or a checkout of another user: the package's version then
        else:
            return done.stdout.strip()
    return _version(_PROJECT) or "unknown"


def cpu_model() -> str:
    """Return the processor's name as Linux gives it, or what the platform module knows."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return value.strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _cpus_available() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _source_sha256() -> str:
    """Hash of the package's sources, by which two runs of one version number can be told apart."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE_FOLDER.rglob("*")):
        if path.suffix in (".py", ".c", ".h", ".so"):
            digest.update(str(path.relative_to(_PACKAGE_FOLDER)).encode() + b"\x00")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _version(package: str) -> str | None:
    # Read from the package's metadata: importing torch only for its version would take seconds.
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
