"""The checkpoint file: what is written is read; whatever is damaged is refused by name, whatever byte it is."""

import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from fedcomloc_mpi.runtime.checkpoint.container import ContainerWriter, DamagedFile, FileRef, open_container

dtypes = st.sampled_from([np.float32, np.float64, np.int64, np.uint8])
arrays = dtypes.flatmap(lambda dtype: arrays_of.arrays(dtype, arrays_of.array_shapes(min_side=0, max_side=4)))
facts = st.dictionaries(
    st.text(max_size=5), st.integers(-(2**53), 2**53) | st.text(max_size=5) | st.booleans()
)


def written(path, contents, known=None):
    writer = ContainerWriter(path)
    for name, array in contents.items():
        writer.add(name, array)
    return writer.finish(known or {})


@given(st.dictionaries(st.text(max_size=6), arrays, max_size=4), facts)
def test_round_trip(tmp_path_factory, contents, known):
    path = tmp_path_factory.mktemp("file") / "a.state"
    reference = written(path, contents, known)
    read = open_container(path, reference)
    assert read.facts == known
    for name, array in contents.items():
        again = read.array(name)
        assert (again.dtype, again.shape) == (array.dtype, array.shape)
        assert again.tobytes() == array.tobytes()
    assert reference.size == path.stat().st_size


def test_items_one_by_one(tmp_path):
    rows = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    writer = ContainerWriter(tmp_path / "a.rows")
    writer.add_items("rows", rows.dtype, (2, 3))
    for row in rows:
        writer.append(row)
    writer.add("clients", np.arange(4))
    read = open_container(tmp_path / "a.rows", writer.finish({}))
    assert np.array_equal(np.stack(list(read.items("rows"))), rows)
    assert np.array_equal(read.array("rows"), rows)
    with pytest.raises(DamagedFile, match=r"a\.rows holds no others"):
        read.array("others")


def test_nothing_is_visible_before_the_end(tmp_path):
    writer = ContainerWriter(tmp_path / "a.state")
    writer.add("x", np.zeros(1000))
    assert not (tmp_path / "a.state").exists()
    writer.discard()
    assert not list(tmp_path.iterdir())


def test_every_cut_and_every_flipped_byte_is_refused(tmp_path):
    path = tmp_path / "00000007.state"
    reference = written(path, {"x": np.arange(5, dtype=np.float32)}, {"round": 7})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFile, match=r"00000007\.state"):
            open_container(path)
    for position in range(len(whole)):
        for bit in (1, 0x80):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :])
            with pytest.raises(DamagedFile, match=r"00000007\.state"):
                open_container(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(DamagedFile):
        open_container(path)
    path.write_bytes(whole)
    open_container(path, reference)


def test_a_file_of_another_checkpoint_is_refused(tmp_path):
    path = tmp_path / "a.rows"
    reference = written(path, {"x": np.zeros(3)})
    written(path, {"x": np.ones(3)})
    with pytest.raises(DamagedFile, match="another checkpoint"):
        open_container(path, reference)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DamagedFile, match=r"gone\.rows cannot be read"):
        open_container(tmp_path / "gone.rows", FileRef("gone.rows", 1, 2))


@pytest.mark.parametrize(
    "contents",
    [
        b"[]",
        b"{}",
        b"[" * 10000,
        b'{"facts": {}, "arrays": {"x": ["<f4", [1000000000000], 8]}}',
        b'{"facts": {}, "arrays": {"x": ["<f4", [-1], 8]}}',
        b'{"facts": {}, "arrays": {"x": ["<f4", [0], -1]}}',
        b'{"facts": {}, "arrays": {"x": ["|O", [1], 0]}}',
        b'{"facts": {}, "arrays": {"x": ["nonsense", [1], 0]}}',
        b'{"facts": {}, "arrays": {"x": ["<f4", [NaN], 0]}}',
        b'{"facts": {}, "arrays": {"x": ["<f4", [Infinity], 0]}}',
        b'{"facts": {}, "arrays": {"x": ["<f4", [0], 1e999]}}',
        b'{"facts": 3, "arrays": {}}',
        b'{"facts": {}, "arrays": []}',
    ],
)
def test_consistent_nonsense_is_refused(tmp_path, contents):
    """A checksum that fits does not make the contents trusted: nothing is allocated or run by them."""
    body = b"FCLCKPT1" + b"\0" * 8 + contents
    path = tmp_path / "a.state"
    path.write_bytes(body + struct.pack("<QI8s", len(contents), zlib.crc32(body), b"FCLCEND1"))
    with pytest.raises(DamagedFile, match=r"a\.state"):
        open_container(path)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("file") / "a.state"
    path.write_bytes(data)
    with pytest.raises(DamagedFile, match=r"a\.state"):
        open_container(path)


def test_format_as_documented(tmp_path):
    path = tmp_path / "a.state"
    written(path, {"x": np.array([1.5], dtype=np.float32)}, {"round": 1})
    data = path.read_bytes()
    length, crc, end = struct.unpack("<QI8s", data[-20:])
    text = data[-20 - length : -20]
    assert (data[:8], end, crc) == (b"FCLCKPT1", b"FCLCEND1", zlib.crc32(data[:-20]))
    assert json.loads(text) == {"facts": {"round": 1}, "arrays": {"x": ["<f4", [1], 8]}}
    assert data[8:12] == struct.pack("<f", 1.5)
