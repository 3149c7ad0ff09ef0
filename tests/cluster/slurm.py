"""A SLURM of three nodes on one machine, for tests: its own key, ports and folders, nothing in /etc; needs root.

with Slurm(folder) as slurm:
    job = slurm.sbatch("launch/slurm_cpu.sbatch", "--rounds", "2", options=["--nodes=3"])
    slurm.wait(job, 60)
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.mpirun import ROOT, RunningJob, clean_environment

NODES = 3
_SECONDS_TO_START = 60.0
_ACTIVE = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED", "SUSPENDED")

_CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that is requeued waits until its credentials have expired.
AuthInfo=socket={folder}/munge.socket,cred_expire=10
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2
MpiDefault=none
ReturnToService=2
KillWait=10
JobRequeue=1
GresTypes=gpu
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{last_port}] CPUs=8 Gres=gpu:2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """The daemons; a context manager that leaves none behind, and no process of their jobs."""

    def __init__(self, folder: Path) -> None:
        """`folder`, which must not hold spaces, receives everything."""
        self._folder = folder
        self._stack = ExitStack()
        self._daemons: dict[str, RunningJob] = {}
        self._environment = {"SLURM_CONF": str(folder / "slurm.conf")}

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        (self._folder / "state").mkdir()
        self._folder.chmod(0o755)
        ports = _free_ports(1 + NODES)
        (self._folder / "slurm.conf").write_text(
            _CONFIGURATION.format(
                host=socket.gethostname(),
                folder=self._folder,
                ports=ports,
                last_port=ports[-1],
                nodes=NODES,
            )
        )
        # GPUs by name only: what a batch job asks for and is given.
        for number, device in enumerate(("/dev/null", "/dev/zero")):
            (self._folder / f"gpu{number}").symlink_to(device)
        (self._folder / "gres.conf").write_text(f"Name=gpu File={self._folder}/gpu[0-1]\n")
        with self._stack:
            self._start_daemons()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.run("scancel", "--state=PENDING", check=False)
            self.run("scancel", "--signal=KILL", "--full", "--user=root", check=False)
            self._wait_until_idle(30)
        finally:
            self._stack.close()

    def run(
        self, *command: str, check: bool = True, cwd: Path = ROOT, env: Mapping[str, str] | None = None
    ) -> str:
        """Run one of SLURM's commands and return its output."""
        done = subprocess.run(
            command,
            cwd=cwd,
            # Whatever a job leaves is found by this, when the daemons are ended.
            env=clean_environment({**self._environment, **(env or {}), **self._daemons["n1"].marker}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}\n{self.logs()}"
        return done.stdout

    def sbatch(
        self,
        script: str,
        *arguments: str,
        options: Sequence[str] = (),
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
    ) -> int:
        """Submit a batch script and return the job's number; it runs in `cwd`, and writes its output there."""
        return int(self.run("sbatch", "--parsable", *options, script, *arguments, cwd=cwd, env=env))

    def state(self, job: int) -> str:
        """Return a job's state as SLURM calls it, in capitals."""
        return self._show(job)["JobState"]

    def wait(self, job: int, seconds: float) -> int:
        """Wait until a job has ended and return its exit code."""
        self.wait_until(lambda: self.state(job) not in _ACTIVE, seconds, f"the end of job {job}")
        return int(self._show(job)["ExitCode"].partition(":")[0])

    def restarts(self, job: int) -> int:
        """Return how often a job has been requeued and started again."""
        return int(self._show(job)["Restarts"])

    def wait_until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until `condition` holds; AssertionError, with all logs, if it does not in time."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited {seconds:g} s in vain for {what}\n{self.logs()}"
            time.sleep(0.5)

    def logs(self) -> str:
        """Return the ends of what the daemons have written, and what is queued."""
        texts = [
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-30:])
            for path in sorted(self._folder.glob("*.log"))
        ]
        return "\n".join(texts)

    def _show(self, job: int) -> dict[str, str]:
        words = self.run("scontrol", "--oneliner", "show", "job", str(job)).split()
        return {name: value for name, _, value in (word.partition("=") for word in words)}

    def _start_daemons(self) -> None:
        key = self._folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        munged = [
            f"--{name}={self._folder}/munge.{name.partition('-')[0]}"
            for name in ("socket", "key-file", "pid-file", "log-file", "seed-file")
        ]
        self._start("munged", "munged", "--foreground", "--force", *munged)
        self._until(lambda: (self._folder / "munge.socket").exists(), "munged")
        self._start("slurmctld", "slurmctld", "-D", "-c")
        for node in range(1, NODES + 1):
            self._start(f"n{node}", "slurmd", "-D", "-N", f"n{node}")
        self._wait_until_idle(_SECONDS_TO_START)

    def _start(self, name: str, program: str, *arguments: str) -> None:
        path = shutil.which(program) or f"/usr/sbin/{program}"
        daemon = RunningJob([path, *arguments], self._environment, self._folder)
        self._daemons[name] = self._stack.enter_context(daemon)

    def _wait_until_idle(self, seconds: float) -> None:
        def idle() -> bool:
            states = self.run("sinfo", "--noheader", "--Node", "--format=%T", check=False).split()
            return states == ["idle"] * NODES

        self._until(idle, "all nodes to be idle", seconds)

    def _until(self, condition: Callable[[], bool], what: str, seconds: float = _SECONDS_TO_START) -> None:
        end = time.monotonic() + seconds
        while not condition():
            ended = [name for name, daemon in self._daemons.items() if daemon.process.poll() is not None]
            said = "".join("".join(self._daemons[name].output()) for name in ended)
            assert not ended, f"{ended} ended: {said}\n{self.logs()}"
            assert time.monotonic() < end, f"waited {seconds:g} s in vain for {what}\n{self.logs()}"
            time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    """Return free ports in a row."""
    for first in range(17000, 30000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return list(range(first, first + count))
    raise OSError("no free ports")
