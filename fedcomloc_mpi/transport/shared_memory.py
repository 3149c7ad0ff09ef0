"""Arrays that the ranks of one node share, without a name that could outlive the job.

The leader of the node makes an anonymous memory file (memfd_create(2)), or a file without a name in a folder
(O_TMPFILE), and the others open it through /proc. It has no entry in /dev/shm or anywhere else, so nothing is left
whenever and however a rank dies, and it is sparse: a row that nobody has written costs no memory.
"""

import contextlib
import mmap
import os
import tempfile
from typing import Any

import numpy as np
from mpi4py import MPI

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.transport.wait import wait_all


def shared_array(
    node: MPI.Comm, shape: tuple[int, ...], dtype: np.dtype[Any] | type, folder: str | None = None
) -> np.ndarray:
    """Return an array of zeros that all ranks of `node` see; every rank of the node must call this alike.

    folder: where the file that holds it lies, on a disk of the node, so that it may be larger than memory; None: in
    memory.

    The caller orders writes and reads (by the messages that it exchanges anyway). Raises UserError on all ranks of the
    node alike when the memory cannot be made or cannot be opened by some rank.
    """
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if size == 0:
        return np.zeros(shape, dtype=dtype)
    place = np.array([-1, -1], dtype=np.int64)  # process and file descriptor of the leader
    descriptor, memory, problem = -1, None, "another rank of the node failed"
    try:
        if node.rank == 0:
            descriptor = _file_without_name(folder)
            os.ftruncate(descriptor, size)
            place[:] = os.getpid(), descriptor
            memory = mmap.mmap(descriptor, size)
    except (OSError, ValueError) as error:
        problem = str(error)
    wait_all([node.Ibcast(place, root=0)])
    try:
        if node.rank != 0 and place[0] >= 0:
            descriptor = os.open(f"/proc/{place[0]}/fd/{place[1]}", os.O_RDWR | os.O_CLOEXEC)
            memory = mmap.mmap(descriptor, size)
    except (OSError, ValueError) as error:
        problem = str(error)
    failed = np.array([memory is None], dtype=np.int64)
    anyone = np.zeros(1, dtype=np.int64)
    wait_all([node.Iallreduce(failed, anyone, op=MPI.SUM)])  # also: nobody closes before all have opened
    if descriptor >= 0:
        os.close(descriptor)
    if anyone[0] or memory is None:
        where = "" if folder is None else f" in a file in {folder}"
        advice = (
            "; ranks of one node must run as one user and see each other in /proc" if folder is None else ""
        )
        raise UserError(
            f"cannot share {size:,} bytes{where} between the {node.size} ranks of a node ({problem}){advice}"
        )
    return np.frombuffer(memory, dtype=dtype).reshape(shape)


def _file_without_name(folder: str | None) -> int:
    """Return the descriptor of a new file that disappears with the last process that has it open."""
    if folder is None:
        return os.memfd_create("fedcomloc_mpi", os.MFD_CLOEXEC)
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # a file system without O_TMPFILE
        descriptor, name = tempfile.mkstemp(prefix="fedcomloc_mpi-", dir=folder)
        os.unlink(name)
        return descriptor


def unname_library_memory(comm: MPI.Comm) -> None:
    """Unlink the shared memory of the MPI library itself in /dev/shm; every rank of `comm` must call this.

    MPICH 5 unlinks its segment in MPI_Finalize, so a job that is killed or aborted would leave some MB behind for good.
    Ranks that have mapped it need no name, and after MPI_Init, which the barrier orders, all have.
    """
    wait_all([comm.Ibarrier()])
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        mapped = {line.split(maxsplit=5)[-1].strip() for line in maps if "/dev/shm/mpich_shm_" in line}
    for path in mapped:
        with contextlib.suppress(OSError):  # another rank of the node was faster
            os.unlink(path)
