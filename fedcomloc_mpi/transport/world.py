"""The world of ranks: who is the server, which ranks share a node, and what stops a job before it starts."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from mpi4py import MPI

from fedcomloc_mpi.errors import AgreedError, UserError
from fedcomloc_mpi.transport.wait import wait_all

SERVER = 0
CHUNK_BYTES = 1 << 30  # the most that one MPI call moves: MPI 3 counts with 32 bits
_SIZE_VARIABLES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE", "SLURM_STEP_NUM_TASKS")
_ERROR_BYTES = 2048


@dataclass
class World:
    """A communicator with the facts that every part needs. It changes only when ranks are lost (`keep`).

    comm: all ranks; rank 0 is the server, the others host clients. node: the ranks that share memory with this one, in
    world order. node_of: for each rank the number of the node that it runs on, nodes numbered in the order of their
    lowest rank. hosts: the processor name of each rank. processes: its process id there. homes: the node of each rank
    that the job started with, which decides where a client's state is (`schedule.home_node`). first_ranks: for each
    rank, the one that it was when the job started, and that people know it by.
    """

    comm: MPI.Intracomm
    node: MPI.Comm
    node_of: tuple[int, ...]
    hosts: tuple[str, ...]
    processes: tuple[int, ...]
    homes: tuple[int, ...] = field(init=False)
    first_ranks: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.homes = self.node_of
        self.first_ranks = tuple(range(len(self.node_of)))

    @property
    def rank(self) -> int:
        """This process's rank."""
        return self.comm.rank

    @property
    def size(self) -> int:
        """Number of ranks, the server included."""
        return self.comm.size

    @property
    def is_server(self) -> bool:
        """Whether this rank is the server."""
        return self.comm.rank == SERVER

    @property
    def leads_node(self) -> bool:
        """Whether this is the lowest rank of its node: the one that reads files for the others."""
        return self.node.rank == 0

    def name(self, rank: int) -> str:
        """Return a rank with its process and host, for messages."""
        who = f"rank {self.first_ranks[rank]}{', the server' if rank == SERVER else ''}"
        return f"{who} (process {self.processes[rank]} on {self.hosts[rank]})"

    def keep(self, comm: MPI.Intracomm, node: MPI.Comm, kept: Sequence[int]) -> None:
        """Go on with the ranks `kept` of this world, ascending, which are the ranks of `comm` in that order."""
        self.comm, self.node = comm, node
        self.node_of = tuple(self.node_of[rank] for rank in kept)
        self.hosts = tuple(self.hosts[rank] for rank in kept)
        self.processes = tuple(self.processes[rank] for rank in kept)
        self.first_ranks = tuple(self.first_ranks[rank] for rank in kept)

    def agree(self, error: UserError | None) -> None:
        """Raise on every rank if any rank calls this with an error; all ranks must call it (MPI_Iallgather).

        The AgreedError raised is that of the lowest rank that has one, on all ranks alike, cut to 2 KB.
        """
        agree(self.comm, error)

    def broadcast(self, array: np.ndarray) -> None:
        """Give the server's `array`, contiguous and of any size, to all ranks (MPI_Ibcast); all ranks call this."""
        data = array.reshape(-1).view(np.uint8)
        for start in range(0, data.size, CHUNK_BYTES):
            wait_all([self.comm.Ibcast(data[start : start + CHUNK_BYTES], root=SERVER)])


def agree(comm: MPI.Intracomm, error: UserError | None, named: bool = False) -> None:
    """As `World.agree`, for a communicator that is no World yet.

    named: where only some ranks have an error, the one that is raised says of which rank it is.
    """
    mine = np.zeros(1 + _ERROR_BYTES, dtype=np.uint8)  # whether there is one, and what it says
    if error is not None:
        text = str(error).encode()[:_ERROR_BYTES]
        mine[0] = 1
        mine[1 : 1 + len(text)] = np.frombuffer(text, dtype=np.uint8)
    everyone = _of_all_ranks(comm, mine)
    failed = np.flatnonzero(everyone[:, 0])
    if failed.size:
        lowest = int(failed[0])
        said = everyone[lowest, 1:].tobytes().rstrip(b"\0").decode(errors="replace")
        raise AgreedError(f"rank {lowest}: {said}" if named and failed.size < comm.size else said)


def refuse_singletons(size: int, environment: Mapping[str, str] = os.environ) -> None:
    """Raise AgreedError when there is no server and client pair, and say why the launcher started it so.

    `size` is that of the world communicator. A launcher of another MPI than the library's starts N worlds of one rank
    each; the variables that launchers set tell that case from a plain `python -m`.
    """
    if size >= 2:
        return
    for variable in _SIZE_VARIABLES:
        value = environment.get(variable, "")
        if value.isdigit() and int(value) > 1:
            raise AgreedError(
                f"{value} processes were started ({variable}={value}) but each is alone in its MPI world: the launcher"
                f" belongs to another MPI than the library ({library_version().splitlines()[0]}); use the mpirun of"
                " that library, or under SLURM `srun --mpi=pmi2` (MPICH, Intel MPI) or `srun --mpi=pmix` (Open MPI)"
            )
    raise AgreedError(
        "one rank only: rank 0 is the server and the other ranks are clients, so at least 2 are needed;"
        " start it as `mpirun -n 3 python -m fedcomloc_mpi.train`"
    )


def library_version() -> str:
    """Return what the MPI library says of itself (MPI_Get_library_version), without padding."""
    return MPI.Get_library_version().replace("\0", "").strip()


def open_world(comm: MPI.Intracomm) -> World:
    """Describe `comm` for the program; every rank of it must call this.

    The communicator is duplicated, so that a caller's own messages never meet ours. Raises AgreedError for a world
    of one rank.
    """
    refuse_singletons(comm.size)
    comm = comm.Dup()
    node = comm.Split_type(MPI.COMM_TYPE_SHARED, key=comm.rank)
    leader = np.array([comm.rank], dtype=np.int64)
    wait_all([node.Ibcast(leader, root=0)])
    leaders = _of_all_ranks(comm, leader)[:, 0]
    numbers = {int(lowest): number for number, lowest in enumerate(sorted(set(leaders.tolist())))}
    hosts = texts_of_all_ranks(comm, MPI.Get_processor_name())
    processes = _of_all_ranks(comm, np.array([os.getpid()], dtype=np.int64))[:, 0]
    return World(
        comm=comm,
        node=node,
        node_of=tuple(numbers[int(lowest)] for lowest in leaders),
        hosts=hosts,
        processes=tuple(processes.tolist()),
    )


def texts_of_all_ranks(comm: MPI.Intracomm, mine: str) -> tuple[str, ...]:
    """Return the text of each rank, cut to 256 bytes (MPI_Iallgather); all ranks of `comm` call this."""
    padded = np.zeros(256, dtype=np.uint8)
    text = mine.encode()[: padded.size]
    padded[: len(text)] = np.frombuffer(text, dtype=np.uint8)
    rows = _of_all_ranks(comm, padded)
    return tuple(row.tobytes().rstrip(b"\0").decode(errors="replace") for row in rows)


def _of_all_ranks(comm: MPI.Intracomm, mine: np.ndarray) -> np.ndarray:
    everyone = np.zeros((comm.size, mine.size), dtype=mine.dtype)
    wait_all([comm.Iallgather(mine, everyone)])
    return everyone
