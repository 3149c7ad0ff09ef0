"""A base and segments hold every client's last committed row; which checkpoint is used, and which are kept."""

import json
import os
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.runtime.checkpoint.container import ContainerWriter, DamagedFile, open_container
from fedcomloc_mpi.runtime.checkpoint.find import load_rows, newest_usable
from fedcomloc_mpi.runtime.checkpoint.retention import Retention, files_of, remove_leftovers, to_keep
from fedcomloc_mpi.runtime.checkpoint.row_chain import RowChain
from fedcomloc_mpi.runtime.checkpoint.server_state import ServerState, StateWriter, check_shape, read_state
from fedcomloc_mpi.runtime.client_state import ClientState
from tests.metrics.records import record

SIZE = 3
SHAPE = {"clients": 9, "layers": [1, 2], "client vectors": 1, "server vectors": 2, "broadcast vectors": 1}


class Rows(ClientState):
    """The state of clients, in this process alone."""

    def __init__(self, clients):
        self.all = np.zeros((clients, 1, SIZE), dtype=np.float32)
        self._rows = self.all


def usable(folder):
    found = newest_usable(folder)
    assert found is not None
    return found


def server_state(round):
    return ServerState(
        round,
        np.full((1, SIZE), round, dtype=np.float32),
        np.full((2, SIZE), -round, dtype=np.float64),
        np.full(SIZE, round / 3),
        1000 + round,
    )


def lines(after, until):
    """Return the lines of rounds.jsonl of some rounds."""
    return b"".join(
        json.dumps(record(round).to_dict()).encode() + b"\n" for round in range(after + 1, until + 1)
    )


def write_checkpoint(folder, round, chain, files):
    """Write one checkpoint of a single node, as the saver does; return its files."""
    base = chain.begin(round)
    file = chain.finish(lines(0 if base else int(files[-1].name[:8]), round))
    files = (file,) if base else (*files, file)
    StateWriter(folder, server_state(round), SHAPE).finish({0: files})
    return files


@settings(max_examples=30)
@given(
    cohorts=st.lists(st.sets(st.integers(0, 8), min_size=1, max_size=4), min_size=1, max_size=12),
    every=st.integers(1, 4),
)
def test_the_newest_checkpoint_restores_every_row(tmp_path_factory, cohorts, every):
    folder = tmp_path_factory.mktemp("checkpoints")
    rows, files, random = Rows(9), (), np.random.default_rng(0)
    chain = RowChain(folder, 0, rows)
    saved = np.zeros_like(rows.all)
    last, taken_part = 0, set[int]()
    for round, cohort in enumerate(cohorts, start=1):
        chain.note(cohort)
        for client in cohort:
            rows.all[client] = random.standard_normal(SIZE)
        if round % every == 0:
            files = write_checkpoint(folder, round, chain, files)
            saved, last, taken_part = rows.all.copy(), round, taken_part.union(*cohorts[:round])
    if last == 0:
        assert newest_usable(folder) is None
        return
    found = usable(folder)
    assert found.saved.state.round == last
    again = Rows(9)
    assert load_rows(found.rows, again, lambda client: True) == taken_part
    assert again.all.tobytes() == saved.tobytes()
    total = sum(len(container.array("clients")) for container in found.rows)
    assert total <= 2 * len(taken_part)
    some = Rows(9)
    load_rows(found.rows, some, lambda client: bool(client % 2))
    assert not some.all[::2].any()


def test_rows_that_still_change_are_written_last(tmp_path):
    rows = Rows(4)
    chain = RowChain(tmp_path, 0, rows)
    chain.note([0, 1, 2])
    chain.begin(5)
    chain.write(excepted=[1])
    rows.all[1] = 7  # its commit
    rows.all[0] = 9  # too late: written already
    file = chain.finish(lines(0, 5))
    StateWriter(tmp_path, server_state(5), SHAPE).finish({0: [file]})
    again = Rows(4)
    load_rows(usable(tmp_path).rows, again, lambda client: True)
    assert (again.all[1] == 7).all()
    assert not again.all[0].any()


def test_a_checkpoint_given_up_loses_nothing(tmp_path):
    rows = Rows(3)
    chain = RowChain(tmp_path, 0, rows)
    chain.note([0])
    files = write_checkpoint(tmp_path, 1, chain, ())
    rows.all[1] = 1
    chain.note([1])
    chain.begin(2)
    chain.discard()
    write_checkpoint(tmp_path, 3, chain, files)
    again = Rows(3)
    assert load_rows(usable(tmp_path).rows, again, lambda client: True) == {0, 1}
    assert (again.all[1] == 1).all()


def test_state_file(tmp_path):
    state = server_state(12)
    StateWriter(tmp_path, state, SHAPE).finish({})
    read = read_state(tmp_path / "00000012.state")
    assert read.state.round == 12
    assert read.state.model_bytes == 1012
    for name in ("broadcast", "server_vectors", "control_sum"):
        assert getattr(read.state, name).tobytes() == getattr(state, name).tobytes()
        assert getattr(read.state, name).shape == getattr(state, name).shape
    check_shape(read.shape, {"clients": 9}, tmp_path)
    with pytest.raises(UserError, match="of a job with clients 9, this one has 10"):
        check_shape(read.shape, {"clients": 10}, tmp_path)


def test_a_file_that_is_no_state_file_is_refused(tmp_path):
    chain = RowChain(tmp_path, 0, Rows(2))
    chain.begin(1)
    chain.finish()
    os.rename(tmp_path / "00000001-0.rows", tmp_path / "00000001.state")
    with pytest.raises(DamagedFile, match=r"00000001\.state"):
        read_state(tmp_path / "00000001.state")


@pytest.fixture
def three(tmp_path):
    """Checkpoints of rounds 0, 10, 20, 30: a base at 10, segments at 20 and 30."""
    rows = Rows(9)
    chain = RowChain(tmp_path, 0, rows)
    StateWriter(tmp_path, server_state(0), SHAPE).finish({})
    chain.note(range(8))
    files = write_checkpoint(tmp_path, 10, chain, ())
    for round in (20, 30):
        chain.note([round // 10])
        files = write_checkpoint(tmp_path, round, chain, files)
    assert len(files) == 3
    return tmp_path


@pytest.mark.parametrize(
    ("damaged", "used", "refused"),
    [
        ("00000030.state", 20, [30]),
        ("00000030-0.rows", 20, [30]),
        ("00000020.state", 30, []),
        ("00000020-0.rows", 10, [30, 20]),
        ("00000010-0.rows", 0, [30, 20, 10]),
    ],
)
@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
def test_a_damaged_file_is_named_and_the_checkpoint_before_is_used(three, damaged, used, refused, how):
    path = three / damaged
    data = bytearray(path.read_bytes())
    if how == "gone" and damaged.endswith(".state"):
        refused = [round for round in refused if f"{round:08}.state" != damaged]
    if how == "flip":
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    elif how == "cut":
        path.write_bytes(data[:-9])
    else:
        path.unlink()
    found = usable(three)
    assert found.saved.state.round == used
    assert len(found.refused) == len(refused)
    for line, round in zip(found.refused, refused, strict=True):
        assert f"round {round} " in line
        assert damaged in line


def rewritten(path, arrays=None, facts=None):
    """Write a file anew, with other contents and a checksum that fits; return what it comes to."""
    old = open_container(path)
    contents = {name: old.array(name) for name in old._arrays} | (arrays or {})
    writer = ContainerWriter(path)
    for name, array in contents.items():
        writer.add(name, array)
    return writer.finish(old.facts | (facts or {}))


@pytest.mark.parametrize(
    ("arrays", "facts"),
    [
        ({"broadcast": np.zeros((1, 2), np.float32)}, {}),
        ({"broadcast": np.zeros((1, SIZE))}, {}),
        ({"server_vectors": np.zeros((1, SIZE))}, {}),
        ({"control_sum": np.zeros(2)}, {}),
        ({"control_sum": np.zeros((0, 10**15))}, {}),
        ({}, {"round": -5}),
        ({}, {"round": 31}),
        ({}, {"round": 30.0}),
        ({}, {"round": float("inf")}),
        ({}, {"model_bytes": -1}),
        ({}, {"shape": []}),
        ({}, {"shape": SHAPE | {"layers": [10**13]}}),
        ({}, {"shape": SHAPE | {"clients": None}}),
        ({}, {"files": {"0": [["", 1, 1]]}}),
        ({}, {"files": {"0": [["a\0b", 1, 1]]}}),
        ({}, {"files": {"0": [["00000010-0.rows", 1e999, 1]]}}),
        ({}, {"coders": None}),
    ],
)
def test_a_state_that_is_whole_but_wrong_is_refused(three, arrays, facts):
    rewritten(three / "00000030.state", arrays, facts)
    found = usable(three)
    assert found.saved.state.round == 20
    (line,) = found.refused
    assert line.startswith("the checkpoint of round 30 is refused: 00000030.state is damaged")


@pytest.mark.parametrize(
    "arrays",
    [
        {"clients": np.array([10**9])},
        {"clients": np.array([9])},
        {"clients": np.array([-1])},
        {"clients": np.array([1, 2])},
        {"clients": np.array([1.0])},
        {"rows": np.zeros((1, 1, 2), np.float32)},
        {"rows": np.zeros((1, 2, SIZE), np.float32)},
        {"rows": np.zeros((10**13, 0, SIZE), np.float32)},
        {"rows": np.zeros((1, 1, SIZE))},
        {"records": np.frombuffer(b"garbage\n", np.uint8)},
        {"records": np.frombuffer(lines(20, 29), np.uint8)},
        {"records": np.frombuffer(lines(21, 31), np.uint8)},
        {"records": np.frombuffer(lines(20, 30)[:-1], np.uint8)},
        {"records": np.zeros((2, 0), np.uint8)},
    ],
)
def test_rows_that_are_whole_but_wrong_are_refused(three, arrays):
    files = list(read_state(three / "00000030.state").chains[0])
    files[-1] = rewritten(three / files[-1].name, arrays)
    rewritten(three / "00000030.state", facts={"files": {0: files}})
    found = usable(three)
    assert found.saved.state.round == 20
    (line,) = found.refused
    assert "00000030-0.rows" in line


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_refused(three, kind):
    (os.mkdir if kind == "folder" else os.mkfifo)(three / "00000040.state")
    found = usable(three)
    assert found.saved.state.round == 30
    assert len(found.refused) == 1
    if kind == "folder":
        with pytest.raises(UserError, match=r"cannot delete .*00000040\.state: "):
            Retention(three, keep=1).add(50, found.saved.chains)


def test_checkpoints_that_are_a_file(tmp_path):
    (tmp_path / "checkpoints").write_text("x")
    with pytest.raises(UserError, match=r"cannot read .*checkpoints: Not a directory"):
        newest_usable(tmp_path / "checkpoints")


def test_nothing_usable_is_an_error_and_nothing_at_all_is_not(three, tmp_path):
    for path in three.glob("*.state"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"no checkpoint in .* 00000030\.state .* 00000000\.state"):
        newest_usable(three)
    for path in three.iterdir():
        path.unlink()
    assert newest_usable(three) is None
    assert newest_usable(three / "missing") is None


def test_no_single_file_can_spoil_all_that_are_kept(three):
    Retention(three, keep=2).add(30, read_state(three / "00000030.state").chains)
    kept = {path.name for path in three.iterdir()}
    assert kept == {
        "00000000.state",
        "00000010-0.rows",
        "00000020.state",
        "00000020-0.rows",
        "00000030.state",
        "00000030-0.rows",
    }
    for name in kept:
        data = (three / name).read_bytes()
        (three / name).write_bytes(data[:-1])
        assert newest_usable(three) is not None
        (three / name).write_bytes(data)


@given(st.dictionaries(st.integers(0, 50), st.sets(st.sampled_from("abcdef")), min_size=1), st.integers(1, 5))
def test_to_keep(files, keep):
    kept = to_keep(files, keep)
    newest = max(files)
    assert kept[: min(keep, len(files))] == sorted(files, reverse=True)[:keep]
    assert len(kept) <= keep + 1
    if any(not files[round] & files[newest] for round in files):
        assert any(not files[round] & files[newest] for round in kept)


def test_files_of_later_rounds_stay_until_their_round(three):
    """A run that goes on from round 10 must not delete what it might still be asked for, nor count it."""
    chains = read_state(three / "00000010.state").chains
    Retention(three, keep=1).add(10, chains)
    assert (three / "00000030.state").exists()
    assert (three / "00000020-0.rows").exists()
    assert files_of(chains) == {"00000010-0.rows"}


def test_leftovers_of_a_killed_job_are_removed(tmp_path):
    chain = RowChain(tmp_path, 0, Rows(2))
    chain.begin(3)
    (tmp_path / "lock").touch()
    assert len(list(tmp_path.iterdir())) == 2
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    with suppress(UserError):
        chain.finish()
