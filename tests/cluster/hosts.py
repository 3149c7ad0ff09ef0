"""Training jobs over the hosts of bench/namespaces.py, without limits on their links; needs root.

with TrainingHosts(3, folder) as hosts:
    job = hosts.train("--rounds", "3", cwd=folder)
"""

import sys
from pathlib import Path

from bench.namespaces import NETWORK, Hosts, Link
from tests.mpirun import Job, RunningJob


class TrainingHosts(Hosts):
    """The hosts; a context manager that removes them."""

    def __init__(self, count: int, folder: Path) -> None:
        """`folder`, which must not hold spaces, receives the remote shell."""
        super().__init__(folder, [Link()] * count)

    def train(self, *flags: str, cwd: Path, timeout: float = 280) -> Job:
        """Run a training job, a rank on each host, and wait for its end."""
        command = [*self.launcher(), sys.executable, "-m", "fedcomloc_mpi.train", *flags]
        with RunningJob(command, NETWORK, cwd) as job:
            return job.wait(timeout)
