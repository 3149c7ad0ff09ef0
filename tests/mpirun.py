"""Run a program on several MPI ranks as a subprocess, so that a test sees a whole job the way a user does.

    job = mpirun(3, "from mpi4py import MPI; print(MPI.COMM_WORLD.rank)")
    job = mpirun(3, ["-m", "fedcomloc_mpi.train", "--rounds", "2"], cwd=tmp_path)
    assert job.returncode == 0, job

Nothing of a job outlives it: whatever is still alive when it must be over is killed and reported.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

ROOT = Path(__file__).resolve().parent.parent

_JOB_VARIABLE = "FEDCOMLOC_TEST_JOB"
# What a launcher tells its ranks: a test process that is itself a rank must not pass it on.
_LAUNCHER_VARIABLES = (
    "PMI_",
    "PMIX_",
    "HYDI_",
    "MPI_LOCAL",
    "OMPI_COMM_",
    "OMPI_MCA_ess",
    "OMPI_MCA_orte_",
    "PRTE_",
)
_USER_VARIABLES = ("PRTE_ALLOW_", "PRTE_MCA_rmaps_")
_GRACE_SECONDS = 5.0


class Job(NamedTuple):
    """What a job left: mpirun's exit code, and the text that all ranks wrote.

    Texts of several ranks mix wherever one rank's write ends; `print` writes its newline apart.
    """

    returncode: int
    stdout: str
    stderr: str

    def __repr__(self) -> str:
        """Return what an assertion's message should show: everything, in lines."""
        return f"exit code {self.returncode}\nstdout:\n{self.stdout}\nstderr:\n{self.stderr}"


class JobTimeout(AssertionError):
    """The job did not end in time and was killed; says what it had written until then."""


def launcher() -> str:
    """Return the path of the mpiexec beside this Python, or else of the first one on PATH."""
    beside = Path(sys.executable).parent / "mpiexec"
    found = str(beside) if beside.exists() else shutil.which("mpiexec") or shutil.which("mpirun")
    if found is None:
        raise FileNotFoundError(f"no mpiexec beside {sys.executable} and none on PATH")
    return found


def clean_environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without what a launcher put there, with this checkout's package first."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_LAUNCHER_VARIABLES) or name.startswith(_USER_VARIABLES)
    }
    kept["CUDA_VISIBLE_DEVICES"] = ""  # only the CPU promises the same bits on any number of ranks
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    return kept | dict(changes or {})


class RunningJob:
    """A job that has been started; a context manager that leaves no process behind."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str] | None, cwd: str | os.PathLike[str] | None
    ):
        """Start `command` in a session of its own. `env` is added to `clean_environment()`."""
        self._command = " ".join(command)
        # The variable by which its processes are known, to be given to those that it does not start itself.
        self.marker = {_JOB_VARIABLE: uuid.uuid4().hex}
        # Files, not pipes: a rank that outlives mpirun would keep a pipe open and its reader waiting.
        self._outputs = tuple(tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._outputs[0],
            stderr=self._outputs[1],
            env=clean_environment(env) | self.marker,
            cwd=cwd,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        for file in self._outputs:
            file.close()

    def output(self) -> tuple[str, str]:
        """Return what has been written so far to (stdout, stderr)."""
        texts = []
        for file in self._outputs:
            # pread leaves the offset alone, which the job's processes share.
            texts.append(os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace"))
        return texts[0], texts[1]

    def processes(self) -> dict[int, str]:
        """Return the job's live processes, mpirun and all ranks: process id to command line."""
        marker = "".join(f"{name}={value}" for name, value in self.marker.items()).encode()
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit() or int(folder.name) == os.getpid():
                continue
            try:
                if marker in (folder / "environ").read_bytes().split(b"\0"):
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found[int(folder.name)] = command.strip()
            except OSError:
                continue  # ended meanwhile, or another user's
        return found

    def wait(self, timeout: float) -> Job:
        """Wait until the job has ended and return its Job.

        Raises JobTimeout after `timeout` seconds, and AssertionError if processes of the job outlive mpirun.
        """
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            left = self.processes()
            self.kill()
            out, err = self.output()
            raise JobTimeout(
                f"not ended after {timeout:g} s: {self._command}\nalive: {left}\nstdout:\n{out}\nstderr:\n{err}"
            ) from None
        left = self._processes_after_grace()
        out, err = self.output()
        if left:
            self.kill()
            raise AssertionError(f"processes outlived mpirun: {left}\nstdout:\n{out}\nstderr:\n{err}")
        return Job(self.process.returncode, out, err)

    def kill(self) -> None:
        """Kill every process of the job; no effect once none is left."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        # A launcher may put its ranks into process groups of their own.
        for _ in range(100):
            left = self.processes()
            if not left:
                return
            for process in left:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)

    def _processes_after_grace(self) -> dict[int, str]:
        deadline = time.monotonic() + _GRACE_SECONDS
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left


def start(
    ranks: int,
    program: str | Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> RunningJob:
    """Start `program` on `ranks` ranks and return at once; use the result in a `with` block.

    A string is Python source, run under `-m mpi4py` so that an exception on one rank ends the job; a sequence is what
    follows `python` on the command line. `env` holds additional environment variables, `cwd` the working folder.
    """
    arguments = (
        ["-m", "mpi4py", "-c", program] if isinstance(program, str) else [os.fspath(a) for a in program]
    )
    return RunningJob([launcher(), "-n", str(ranks), sys.executable, *arguments], env, cwd)


def mpirun(
    ranks: int,
    program: str | Sequence[str | os.PathLike[str]],
    *,
    timeout: float = 60.0,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> Job:
    """Run `program` on `ranks` ranks as `start` does, wait for its end and return its Job.

    `timeout` is in seconds. Raises as `RunningJob.wait` does.
    """
    with start(ranks, program, env=env, cwd=cwd) as job:
        return job.wait(timeout)
