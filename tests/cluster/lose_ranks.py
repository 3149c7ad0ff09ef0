"""Run `fedcomloc_mpi.train` with ranks that are killed (SIGKILL).

    mpirun --with-ft ulfm -n 11 python tests/cluster/lose_ranks.py NODES RANK:ROUND:WHEN[,...] FLAG...

Rank r believes that it is on node r mod NODES.
A rank dies in the first round from ROUND on in which it comes to WHEN: local, as it begins a client's local steps;
commit, as it begins to update a client's control variates; committed, when it has computed what they become, and not
yet written it; downlink, as it begins to wait for a broadcast; sending, as it (the server) begins to send one.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from fedcomloc_mpi.transport.launcher import launched_rank
from tests.jobs import nodes


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def install(round: int, when: str) -> None:
    from fedcomloc_mpi.algorithms import ALGORITHMS
    from fedcomloc_mpi.transport.registry import EXCHANGES

    number = 1  # the round in flight

    def around(owner: type, function: str, fatal: Callable[[int], bool], after: bool = False) -> None:
        original = getattr(owner, function)

        def changed(self: Any, *arguments: Any, **named: Any) -> Any:
            nonlocal number
            if function in ("local", "commit", "aggregate"):
                number = arguments[0].number
            if fatal(number) and not after:
                die()
            result = original(self, *arguments, **named)
            if fatal(number):
                die()
            if function == "step_server":  # every rank calls it at the end of a round
                number = arguments[0].number + 1
            return result

        setattr(owner, function, changed)

    def here(current: int) -> bool:
        return current >= round

    for algorithm in ALGORITHMS.values():
        around(algorithm, "aggregate", lambda current: False)
        around(algorithm, "step_server", lambda current: False)
        around(algorithm, "local", here if when == "local" else lambda current: False)
        around(
            algorithm,
            "commit",
            here if when.startswith("commit") else lambda current: False,
            when == "committed",
        )
    for exchange in EXCHANGES.values():
        around(exchange, "receive_downlink", here if when == "downlink" else lambda current: False)
        # The server has called step_server of the round that it sends.
        around(
            exchange,
            "send_downlink",
            (lambda current: here(current - 1)) if when == "sending" else lambda current: False,
        )


def main(node_count: str, faults: str, *flags: str) -> int:
    for fault in faults.split(","):
        rank, round, when = fault.split(":")
        if launched_rank() == int(rank):
            install(int(round), when)
    return nodes.main(int(node_count), *flags)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
