"""What the ranks of a test run: many short trainings, one after the other, in one mpirun.

`mpirun -n N python -m mpi4py -m tests.runtime.training_job FOLDER NAME...` trains every named configuration into
FOLDER/NAME and leaves FOLDER/NAME.json with bytes that were counted here, outside the program: at the calls of MPI, and
as lengths of what the coder returned.

NAME may end in "@late", where the ranks finish a round at very different times, in "@nodes", where the ranks believe
that they run on two machines, in "@p2p", for the other exchange, in "@slow", where the server believes that some ranks
are much faster than others, in "@batched", where a rank trains three clients at once, or in "@gpu", where ranks take
the CPU for a GPU: torch computes there what it would compute on one, and what is compressed is compressed in torch.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from mpi4py import MPI

from fedcomloc_mpi.config import make_config
from fedcomloc_mpi.runtime import client, job, server
from fedcomloc_mpi.runtime.balance import SpeedMeter
from fedcomloc_mpi.runtime.devices import Devices
from fedcomloc_mpi.transport.exchange import Exchange
from fedcomloc_mpi.transport.registry import EXCHANGES
from fedcomloc_mpi.transport.world import World, open_world
from fedcomloc_mpi.wire import Encoded, decode_reference, encode
from tests.transport.worlds import world_of

COMMON: dict[str, Any] = {
    "dataset": "digits",
    "clients": 12,
    "cohort": 6,
    "rounds": 6,
    "p": 0.3,
    "lr": 0.1,
    "batch_size": 16,
    "eval_every": 3,
}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "density-0.1": {"density": 0.1},
    "bits-8": {"density": 1.0, "bits": 8},
    "density-0.1-bits-4": {"density": 0.1, "bits": 4},
    "density-1": {"density": 1.0},
    "scaffnew": {"algorithm": "scaffnew"},
    "another-seed": {"density": 0.1, "seed": 1},
    "fixed-steps": {"density": 0.1, "local_steps": "fixed", "batch_size": 0, "cohort": 5},
    "no-uplink-reference": {"density": 0.1, "uplink_reference": "off"},
    "shared-lattice": {"density": 0.1, "bits": 8, "lattice": "shared"},
    "lossy-downlink": {"density": 0.3, "downlink_density": 0.5, "downlink_bits": 6},
    "local": {"algorithm": "fedcomloc-local", "density": 0.5, "bits": 8},
    "global": {"algorithm": "fedcomloc-global", "density": 0.3},
    "fedavg": {"algorithm": "fedavg"},
    "sparsefedavg": {"algorithm": "sparsefedavg", "density": 0.2},
    "sparsefedavg-density-1": {"algorithm": "sparsefedavg", "density": 1.0},
    "scaffold": {"algorithm": "scaffold"},
    "feddyn": {"algorithm": "feddyn"},
    "weighted": {"algorithm": "scaffnew", "weighting": "samples"},
    "every-knob": {
        "density": 0.3,
        "downlink_bits": 10,
        "server_step": 0.6,
        "weighting": "samples",
        "lr_schedule": "cosine",
        "lr_decay_rounds": 5,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
    },
    "scaffold-weighted": {"algorithm": "scaffold", "weighting": "samples", "server_step": 0.7},
}


class Counts:
    """The bytes of one training, as this rank sees them; lists have one entry for each round."""

    def __init__(self) -> None:
        self.sent_up: list[int] = []
        self.received_up: list[int] = []
        self.down: list[int] = []
        self.encoded: list[int] = []
        self.encoded_alone: list[list[int]] = []  # x_0 and the first round's model in one
        self._waiting = 0
        self._waiting_alone: list[int] = []

    def close_round(self) -> None:
        """Note the lengths of what has been encoded since the last call."""
        self.encoded.append(self._waiting)
        self.encoded_alone.append(self._waiting_alone)
        self._waiting, self._waiting_alone = 0, []

    def facts(self) -> dict[str, list[Any]]:
        """Return what is written down."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def spy_client(self, compressed: Any, reference: Any, coders: int) -> Encoded:
        message = encode(compressed, reference, coders)
        self._waiting += message.data.size
        return message

    def spy_server(self, compressed: Any, reference: Any, coders: int) -> Encoded:
        message = encode(compressed, reference, coders)
        if reference is not None:
            self._waiting += message.data.size
        if message.self_contained:
            self._waiting_alone.append(message.data.size)
        return message


class CountingComm:
    """A communicator that counts the bytes of the calls that the exchange of a round consists of."""

    def __init__(self, comm: MPI.Intracomm, counts: Counts) -> None:
        self._comm, self._counts = comm, counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._comm, name)

    def Igatherv(self, send: list[Any], receive: Any, root: int) -> MPI.Request:
        if receive is not None:
            self._counts.received_up.append(int(sum(receive[1])))
        elif len(self._counts.sent_up) % 2 == 0:  # the reports; the messages follow
            self._counts.close_round()
        self._counts.sent_up.append(send[0].nbytes)
        return self._comm.Igatherv(send, receive, root=root)

    def Ibcast(self, buffer: np.ndarray, root: int) -> MPI.Request:
        self._counts.down.append(buffer.nbytes)
        if self._comm.rank == root and len(self._counts.down) % 2 == 1:  # the header; the model follows
            self._counts.close_round()
        return self._comm.Ibcast(buffer, root=root)

    def Isend(self, buffer: np.ndarray, dest: int, tag: int) -> MPI.Request:
        (self._counts.sent_up if dest == 0 else self._counts.down).append(buffer.nbytes)
        return self._comm.Isend(buffer, dest=dest, tag=tag)

    def Irecv(self, buffer: np.ndarray, source: int, tag: int) -> MPI.Request:
        (self._counts.down if source == 0 else self._counts.received_up).append(buffer.nbytes)
        return self._comm.Irecv(buffer, source=source, tag=tag)


def train(comm: MPI.Intracomm, folder: Path, name: str) -> None:
    """Run one configuration on all ranks."""
    configuration, _, variant = name.partition("@")
    counts = Counts()
    exchange = "p2p" if variant == "p2p" else "collectives"

    def opened(comm: MPI.Intracomm) -> World:
        node_of = [rank % 2 for rank in range(comm.size)]
        return world_of(comm, node_of) if variant == "nodes" else open_world(comm)

    def counted(world: World, *arguments: Any, **named: Any) -> Exchange:
        comm: Any = CountingComm(world.comm, counts)
        return EXCHANGES[exchange](dataclasses.replace(world, comm=comm), *arguments, **named)

    def uneven(meter: SpeedMeter) -> np.ndarray:
        return np.array([1024 * 4 ** (rank % 3) // 4 for rank in range(comm.size)])

    def decode_late(*arguments: Any) -> Any:
        """Let other ranks start the next round while this one has not yet finished the last one."""
        time.sleep(0.05 * ((comm.rank + len(counts.encoded)) % 3))
        return decode_reference(*arguments)

    with (
        patch.object(job, "open_world", opened),
        patch.object(job, "EXCHANGES", {exchange: counted}),
        patch.object(SpeedMeter, "speeds", property(uneven) if variant == "slow" else SpeedMeter.speeds),
        patch.object(Devices, "on_gpu", variant == "gpu"),
        patch.object(Devices, "gpu_ranks", comm.size if variant == "gpu" else 0),
        patch.object(client, "encode", counts.spy_client),
        patch.object(server, "encode", counts.spy_server),
        patch.object(client, "decode_reference", decode_late if variant == "late" else decode_reference),
    ):
        values = COMMON | CONFIGURATIONS[configuration] | {"out": str(folder / name), "exchange": exchange}
        values |= {"client_batch": 3} if variant == "batched" else {}
        ending = job.run(comm, make_config(**values))
    assert ending.rounds == COMMON["rounds"], ending
    facts = comm.gather(counts.facts())
    if facts is not None:
        (folder / f"{name}.json").write_text(json.dumps(facts))


def main(arguments: list[str]) -> None:
    folder, names = Path(arguments[0]), arguments[1:]
    for name in names:
        train(MPI.COMM_WORLD, folder, name)


if __name__ == "__main__":
    main(sys.argv[1:])
