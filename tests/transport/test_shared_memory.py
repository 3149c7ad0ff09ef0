import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.transport.shared_memory import shared_array

pytestmark = pytest.mark.mpi(min_size=2)


def mappings() -> dict[str, int]:
    """The shared arrays that this process has mapped: a line of /proc/self/smaps each, and resident bytes."""
    found: dict[str, int] = {}
    current = ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            current = line if "fedcomloc_mpi (deleted)" in line else ""
        elif current and line.startswith("Rss:"):
            found[current] = int(line.split()[1]) * 1024
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8])
@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 3, 1000)])
def test_what_one_rank_writes_all_see(shape: tuple[int, ...], dtype: type[Any]) -> None:
    comm = MPI.COMM_WORLD
    shared = shared_array(comm, (comm.size, *shape), dtype)
    assert shared.shape == (comm.size, *shape)
    assert shared.dtype == dtype
    assert shared.flags.c_contiguous
    assert shared.flags.writeable
    assert not shared.any()
    comm.Barrier()
    for turn in range(3):
        shared[(comm.rank + turn) % comm.size] = 10 * turn + comm.rank
        comm.Barrier()
        for rank in range(comm.size):
            assert (shared[(rank + turn) % comm.size] == 10 * turn + rank).all()
        comm.Barrier()


@pytest.mark.parametrize("shape", [(0,), (5, 0, 7)])
def test_an_array_of_nothing(shape: tuple[int, ...]) -> None:
    assert shared_array(MPI.COMM_WORLD, shape, np.float32).shape == shape


def test_groups_of_ranks_share_apart_from_each_other() -> None:
    comm = MPI.COMM_WORLD
    group = comm.Split(comm.rank % 2, comm.rank)
    shared = shared_array(group, (group.size,), np.int64)
    shared[group.rank] = comm.rank + 1
    comm.Barrier()
    assert shared.tolist() == list(range(comm.rank % 2 + 1, comm.size + 1, 2))


def test_nothing_has_a_name_that_could_outlive_the_job() -> None:
    comm = MPI.COMM_WORLD
    before = set(mappings())
    shared = shared_array(comm, (1 << 20,), np.uint8)
    (made,) = set(mappings()) - before
    assert "/memfd:" in made
    assert not [path for path in Path("/dev/shm").iterdir() if "fedcomloc" in path.name]
    comm.Barrier()
    del shared
    assert set(mappings()) == before
    descriptors = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert len([target for target in descriptors if "fedcomloc_mpi" in target]) == len(before)


def test_rows_that_nobody_touches_cost_no_memory() -> None:
    """10 000 clients of a model of 0.8 MB: 8 GB that hardly anyone has."""
    comm = MPI.COMM_WORLD
    before = set(mappings())
    rows = shared_array(comm, (10_000, 200_000), np.float32)
    (made,) = set(mappings()) - before
    assert mappings()[made] == 0
    rows[37 * comm.rank] = 1
    assert 800_000 <= mappings()[made] <= 800_000 + 2 * 4096
    comm.Barrier()
    assert rows[:: 37 * 1_000, 0].tolist()[0] == 1
    comm.Barrier()


def test_all_ranks_are_told_when_there_is_no_memory() -> None:
    with pytest.raises(UserError, match=r"cannot share [0-9,]+ bytes"):
        shared_array(MPI.COMM_WORLD, (1 << 57,), np.float32)


@pytest.mark.parametrize("where", ["first", "last"])
def test_all_ranks_are_told_when_one_cannot_share(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    comm = MPI.COMM_WORLD
    culprit = 0 if where == "first" else comm.size - 1

    def refuse(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        if comm.rank == culprit:
            patched.setattr(os, "memfd_create" if where == "first" else "open", refuse)
        with pytest.raises(UserError, match="see each other in /proc") as raised:
            shared_array(comm, (100,), np.float32)
    assert ("Permission denied" in str(raised.value)) == (comm.rank == culprit)
    assert shared_array(comm, (100,), np.float32).shape == (100,)


def test_in_a_file_without_a_name(mpi_tmp_path: Path) -> None:
    comm = MPI.COMM_WORLD
    shared = shared_array(comm, (comm.size, 3, 1000), np.float32, str(mpi_tmp_path))
    assert not shared.any()
    comm.Barrier()
    shared[comm.rank] = comm.rank + 1
    comm.Barrier()
    assert all((shared[rank] == rank + 1).all() for rank in range(comm.size))
    assert list(mpi_tmp_path.iterdir()) == []
    assert str(mpi_tmp_path) in Path("/proc/self/maps").read_text()


def test_a_folder_that_is_not_there(mpi_tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"in a file in .*nowhere"):
        shared_array(MPI.COMM_WORLD, (5,), np.float32, str(mpi_tmp_path / "nowhere"))
