"""Hosts made of network and UTS namespaces on one Ethernet bridge, behind links of a given bandwidth and delay.

    with Hosts(folder, [Link()] + 4 * [Link(up=1, down=10, delay=0.025)]) as hosts:
        hosts.mpirun(["python", "rank.py"], environment={}, timeout=60, log=Path("log"))

Host k is called host<k>, has the address 10.77.0.<10 + k> on eth0, and shares files and processes with this machine.
Needs root and iproute2, and changes none of this machine's own links. Bandwidth is tc's token bucket, a few frames
deep; queues are deep enough never to lose a frame. Not every kernel has netem, so delay is bench/delay.py.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from fedcomloc_mpi.errors import UserError

_ROOT = Path(__file__).resolve().parent.parent
_FRAME, _QUEUE = 1514, 64_000_000  # bytes
_ADDRESS = "10.77.0."

NETWORK = {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "eth0"}
"""Environment in which ranks reach each other by TCP over the hosts' links only (MPICH with UCX)."""

# What MPICH's launcher takes for ssh: the last of the options is followed by the host and the command.
_REMOTE_SHELL = """#!/bin/bash
while [[ $1 == -* ]]; do shift; done
number=$((${{1##*.}} - 10))
shift
exec ip netns exec "{prefix}-$number" unshare --uts bash -c "hostname host$number; $*"
"""


@dataclass(frozen=True)
class Link:
    """A host's link: bandwidth in Mbit/s from and to the host, None: unlimited; delay in seconds, each way."""

    up: float | None = None
    down: float | None = None
    delay: float = 0.0


class JobFailed(Exception):
    """A job ended with another code than 0, or not in time."""


def check_possible() -> None:
    """Raise UserError where there can be no namespaces."""
    if os.geteuid() != 0:
        raise UserError("an emulated network takes root: run this with sudo, or in a container of your own")
    for program in ("ip", "tc", "unshare"):
        if shutil.which(program) is None:
            raise UserError(f"there is no program {program}: install iproute2 and util-linux")


class Hosts:
    """The hosts, one for each link; a context manager that removes them and whatever still runs there."""

    def __init__(self, folder: Path, links: Sequence[Link]) -> None:
        """`folder`, which must not hold spaces, receives the remote shell."""
        self._links = links
        self._prefix = f"net{os.getpid()}"
        self._stack = ExitStack()
        self._shell = folder / "remote-shell"

    def __enter__(self) -> Self:
        check_possible()
        with self._stack:
            self._make()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def launcher(self) -> list[str]:
        """Return what stands before a command to run it on every host, a rank each (MPICH); it needs `NETWORK` too."""
        addresses = ",".join(f"{_ADDRESS}{10 + number}" for number in range(len(self._links)))
        return [
            *("ip", "netns", "exec", self._name(0), "unshare", "--uts"),
            *("bash", "-c", 'hostname host0; exec "$@"', "bash"),
            *(str(Path(sys.executable).parent / "mpirun"), "-n", str(len(self._links)), "-hosts", addresses),
            *("-iface", "eth0", "-launcher", "ssh", "-launcher-exec", str(self._shell)),
        ]

    def bytes_sent(self, host: int) -> int:
        """Return the bytes that have left a host by its network, headers included."""
        (link,) = json.loads(_run("ip", "-n", self._name(host), "-s", "-j", "link", "show", "eth0"))
        sent: int = link["stats64"]["tx"]["bytes"]
        return sent

    def mpirun(
        self, command: Sequence[str], *, environment: Mapping[str, str], timeout: float, log: Path
    ) -> None:
        """Run `command` on every host, a rank each; JobFailed if it fails.

        log: the file that receives what the job writes. timeout: seconds after which the job is killed.
        """
        with log.open("wb") as output:
            job = subprocess.Popen(
                [*self.launcher(), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **NETWORK, **environment},
            )
            try:
                code = job.wait(timeout)
            except subprocess.TimeoutExpired:
                raise JobFailed(f"the job did not end in {timeout:.0f} s: see {log}") from None
            finally:
                self._kill()
                job.wait()
        if code:
            raise JobFailed(f"the job ended with code {code}: see {log}")

    def _name(self, host: int | str) -> str:
        return f"{self._prefix}-{host}"

    def _kill(self) -> None:
        """Kill what runs on the hosts: the launcher's proxies and the ranks, where a job did not end by itself."""
        for number in range(len(self._links)):
            for process in _run("ip", "netns", "pids", self._name(number)).split():
                os.kill(int(process), signal.SIGKILL)

    def _make(self) -> None:
        self._shell.write_text(_REMOTE_SHELL.format(prefix=self._prefix), encoding="utf-8")
        self._shell.chmod(0o755)
        switch = self._namespace("switch")
        _run("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", switch, "link", "set", "bridge", "up")
        # Before the relay, so that they are removed after it has ended.
        names = [self._namespace(number) for number in range(len(self._links))]
        delayed = {number: link.delay for number, link in enumerate(self._links) if link.delay}
        if delayed:
            self._start_relay(switch, delayed)
        for number, link in enumerate(self._links):
            name, port = names[number], f"port{number}"
            if link.delay:
                _run("ip", "-n", switch, "link", "set", f"far{number}", "netns", name, "name", "eth0")
            else:
                # The other end is made in the other namespace, so that none of this machine's own links change.
                ends = ("eth0", "type", "veth", "peer", "name", port, "netns", switch)
                _run("ip", "-n", name, "link", "add", *ends)
            _run("ip", "-n", switch, "link", "set", port, "master", "bridge", "up")
            _run("ip", "-n", name, "address", "add", f"{_ADDRESS}{10 + number}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _run("ip", "-n", name, "link", "set", device, "up")
            _limit(name, "eth0", link.up)
            _limit(switch, port, link.down)

    def _start_relay(self, switch: str, delayed: Mapping[int, float]) -> None:
        """Make port<k> and far<k> for each delayed host in the switch's namespace, joined by the relay."""
        pairs = [f"port{number}:far{number}:{delay}" for number, delay in delayed.items()]
        relay = subprocess.Popen(
            ["ip", "netns", "exec", switch, sys.executable, str(_ROOT / "bench" / "delay.py"), *pairs],
            stdout=subprocess.PIPE,
        )
        self._stack.callback(relay.wait)
        self._stack.callback(relay.terminate)
        assert relay.stdout is not None
        if not relay.stdout.readline():
            raise JobFailed("the relay that delays frames has not started")

    def _namespace(self, host: int | str) -> str:
        name = self._name(host)
        _run("ip", "netns", "add", name)
        self._stack.callback(_run, "ip", "netns", "delete", name)
        return name


def _limit(namespace: str, device: str, megabits: float | None) -> None:
    """Limit what a device sends.

    A bucket of two frames, or of what goes in a millisecond: a larger one would let small messages pass for nothing.
    """
    if megabits is not None:
        bucket = max(2 * _FRAME, round(megabits * 1e6 / 8 * 1e-3))
        shape = ("rate", f"{megabits}mbit", "burst", str(bucket), "limit", str(_QUEUE))
        _run("tc", "-n", namespace, "qdisc", "add", "dev", device, "root", "tbf", *shape)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise JobFailed(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
