"""Run the tests that need root and a cluster's programs: `python -m tests.cluster.run [-- PYTEST-ARGUMENT...]`.

What is missing is installed: SLURM, munge, iproute2, the distribution's Open MPI and MPICH by apt-get, Open MPI 5 by
pip, in a virtual environment below build/. Where that cannot be done the tests are skipped, and the reason is printed;
with REQUIRE_CLUSTER=1 in the environment a skip is a failure. More than 20 minutes are one, too.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.cluster import sites
from tests.cluster.conftest import ENABLED
from tests.run import Outcomes, run_pytest, summarize

# Of the tests and of what they install; a test that is running when it is over ends first.
LIMIT_SECONDS = 20 * 60
PROGRAMS = {
    "slurmctld": ("slurm-wlm", "slurm-wlm-basic-plugins"),
    "munged": ("munge",),
    "ip": ("iproute2",),
    "mpirun.openmpi": ("openmpi-bin",),
    "mpirun.mpich": ("mpich",),
    "unshare": ("util-linux",),
}


def reason_to_skip() -> str | None:
    """Return why the tests cannot run here, or None."""
    if os.geteuid() != 0:
        return "no root: daemons, network namespaces and packages need it"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing and shutil.which("apt-get") is None:
        return f"{', '.join(missing)} missing, and there is no apt-get to install them"
    return None


def install() -> None:
    """Install what is missing. Raises CalledProcessError and TimeoutExpired."""
    packages = [
        package for program, names in PROGRAMS.items() if shutil.which(program) is None for package in names
    ]
    if packages:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        apt = ["apt-get", "--quiet", "--quiet"]
        subprocess.run([*apt, "update"], check=True, env=quiet, timeout=300)
        command = [*apt, "install", "--yes", "--no-install-recommends", *packages]
        subprocess.run(command, check=True, env=quiet, timeout=600, stdout=subprocess.DEVNULL)
    sites.open_mpi_5()


def main(arguments: Sequence[str]) -> int:
    began, required = time.monotonic(), os.environ.get("REQUIRE_CLUSTER") == "1"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    reason = reason_to_skip()
    if reason is not None:
        print(f"cluster tests skipped: {reason}")
        return 1 if required else 0
    try:
        install()
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as error:
        print(f"cluster tests skipped: what they need could not be installed ({error})")
        return 1 if required else 0
    os.environ[ENABLED] = "1"
    left = LIMIT_SECONDS - (time.monotonic() - began)
    options = ["-n0", "--durations=0", f"--session-timeout={left:.0f}"]
    outcomes: Outcomes = run_pytest(1, [*options, *arguments, "tests/cluster"])
    code = summarize({"cluster": outcomes})
    if required and outcomes.skipped:
        print(f"skipped, though REQUIRE_CLUSTER is 1: {', '.join(sorted(outcomes.skipped))}")
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main([argument for argument in sys.argv[1:] if argument != "--"]))
