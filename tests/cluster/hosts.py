"""Hosts made of network and UTS namespaces, joined by an Ethernet bridge in a namespace of its own; needs root.

    with Hosts(3, folder) as hosts:
        job = hosts.mpirun(3, ["-m", "fedcomloc_mpi.train"], cwd=folder)

Host k is called host<k>, has the address 10.77.0.<10 + k> on eth0, and shares files and processes with this machine.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.mpirun import Job, RunningJob, launcher

# What MPICH's launcher takes for ssh: the last of the options is followed by the host and the command.
_REMOTE_SHELL = """#!/bin/bash
while [[ $1 == -* ]]; do shift; done
number=$((${{1##*.}} - 10))
shift
exec ip netns exec "{prefix}-$number" unshare --uts bash -c "hostname host$number; $*"
"""


class Hosts:
    """The hosts; a context manager that removes them."""

    def __init__(self, count: int, folder: Path) -> None:
        """`folder`, which must not hold spaces, receives the remote shell."""
        self.count, self._folder = count, folder
        self._prefix = f"fcl{os.getpid()}"
        self._stack = ExitStack()
        self._shell = folder / "remote-shell"

    def __enter__(self) -> Self:
        with self._stack:
            self._make()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def mpirun(self, ranks: int, arguments: Sequence[str | Path], *, cwd: Path, timeout: float = 280) -> Job:
        """Run python with `arguments` on `ranks` ranks, one a host, that can reach each other by TCP only (MPICH)."""
        addresses = ",".join(f"10.77.0.{10 + number}" for number in range(self.count))
        command = [
            *("ip", "netns", "exec", self._name(0), "unshare", "--uts"),
            *("bash", "-c", 'hostname host0; exec "$@"', "bash"),
            *(launcher(), "-n", str(ranks), "-hosts", addresses, "-iface", "eth0"),
            *("-launcher", "ssh", "-launcher-exec", str(self._shell)),
            *(sys.executable, *map(str, arguments)),
        ]
        network = {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "eth0"}
        with RunningJob(command, network, cwd) as job:
            return job.wait(timeout)

    def bytes_sent(self, host: int) -> int:
        """Return the bytes that have left a host by its network, headers included."""
        (link,) = json.loads(_run("ip", "-n", self._name(host), "-s", "-j", "link", "show", "eth0"))
        sent: int = link["stats64"]["tx"]["bytes"]
        return sent

    def _name(self, host: int | str) -> str:
        return f"{self._prefix}-{host}"

    def _make(self) -> None:
        self._shell.write_text(_REMOTE_SHELL.format(prefix=self._prefix))
        self._shell.chmod(0o755)
        switch = self._namespace("switch")
        _run("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", switch, "link", "set", "bridge", "up")
        for number in range(self.count):
            name = self._namespace(number)
            # The other end is made in the other namespace, so that none of this machine's own links change.
            end = f"port{number}"
            _run(
                "ip", "-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", end, "netns", switch
            )
            _run("ip", "-n", switch, "link", "set", end, "master", "bridge", "up")
            _run("ip", "-n", name, "address", "add", f"10.77.0.{10 + number}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                _run("ip", "-n", name, "link", "set", link, "up")

    def _namespace(self, host: int | str) -> str:
        name = self._name(host)
        _run("ip", "netns", "add", name)
        self._stack.callback(_run, "ip", "netns", "delete", name)
        return name


def _run(*command: str) -> str:
    path = shutil.which(command[0])
    assert path, f"{command[0]} is not installed"
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
