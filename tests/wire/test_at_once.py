"""Messages of sparse floats at once, against the coders asked one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors import Compressed, Identity
from fedcomloc_mpi.compressors.topk import TopK
from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import Reference, available, decode, decode_add, encode, names, numbered
from tests.wire.messages import assert_same, sealed

needs_kernel = pytest.mark.skipif(not kernels.COMPILED, reason="the package was installed without a compiler")


def one_by_one(monkeypatch):
    """Let every message be written and read by the coders, one by one."""
    monkeypatch.setattr(kernels, "encode_sparse_floats", lambda *arguments: None)
    monkeypatch.setattr(kernels, "decode_sparse_floats", lambda *arguments: None)
    monkeypatch.setattr(kernels, "add_sparse_floats", lambda *arguments: False)


def outcome(message, layout, reference):
    """What a message decodes to, or what is said against it."""
    try:
        return decode(message, layout, reference)
    except MessageError as error:
        return str(error)


def added(message, layout, reference, weight):
    """What a message adds to a sum, as bytes, and what is said against it."""
    total = np.random.default_rng(5).standard_normal(layout.size)
    before = total.copy()
    try:
        decode_add(message, layout, reference, total, weight)
    except MessageError as error:
        assert np.array_equal(total, before)
        return str(error)
    return total.tobytes()


def assert_same_outcome(one, other):
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
    else:
        assert_same(one, other)


@st.composite
def sent(draw):
    """A layout, a vector that is sent, and one that the receiver holds: more or less alike, more or less sparse."""
    size = draw(st.one_of(st.integers(2, 200), st.integers(2, 60_000)))
    layout = Layout([size // 3, size - size // 3])
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    held = random.standard_normal(size).astype(np.float32)
    held[random.random(size) < draw(st.sampled_from([0.0, 0.5, 0.87, 0.99]))] = draw(
        st.sampled_from([0.0, -0.0])
    )
    drift = draw(st.sampled_from([0.0, 1e-4, 1e-2, 1.0, 1e20]))
    noise = (random.standard_normal(size) * drift).astype(np.float32)
    vector = held * (1 + noise) if draw(st.booleans()) else held + noise
    if draw(st.booleans()):
        vector = np.round(vector * 8) / 8  # with ties
    vector = np.nan_to_num(vector.astype(np.float32))
    if draw(st.booleans()):
        compressed = TopK(layout, draw(st.sampled_from([0.001, 0.01, 0.1, 0.4, 0.9]))).compress(
            vector, 0, held
        )
    else:
        compressed = Identity(layout).compress(vector, 0)
    return layout, compressed, Reference(held, layout)


@given(case=sent(), data=st.data())
def test_the_same_bytes_and_the_same_vector(case, data):
    layout, compressed, reference = case
    message = encode(compressed, reference)
    weight = data.draw(st.sampled_from([1.0, 0.3]))
    total = added(message.data, layout, reference, weight)
    with pytest.MonkeyPatch.context() as monkeypatch:
        one_by_one(monkeypatch)
        expected = encode(compressed, reference)
        assert (message.index_coder, message.value_coder) == (expected.index_coder, expected.value_coder)
        assert message.self_contained == expected.self_contained
        assert message.data.tobytes() == expected.data.tobytes()
        decoded = decode(message.data, layout, reference)
        assert total == added(message.data, layout, reference, weight)
    assert_same(decode(message.data, layout, reference), decoded)
    damaged = bytearray(message.data.tobytes())
    if len(damaged) == 32:
        return  # a header alone
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(32, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    damaged = sealed(bytes(damaged))
    at_once, total = outcome(damaged, layout, reference), added(damaged, layout, reference, weight)
    with pytest.MonkeyPatch.context() as monkeypatch:
        one_by_one(monkeypatch)
        assert_same_outcome(at_once, outcome(damaged, layout, reference))
        assert total == added(damaged, layout, reference, weight)


def usual_message(size=100_000, density=0.1, moved=0.003):
    """A message as a round sends it: most of the support is the reference's, and the values are near."""
    random = np.random.default_rng(3)
    layout = Layout([size])
    vector = random.standard_normal(size).astype(np.float32)
    held = np.empty(size, dtype=np.float32)
    TopK(layout, density).compress(vector, 0).write_to(held)
    near = vector * (1 + moved * random.standard_normal(size).astype(np.float32))
    return layout, TopK(layout, density).compress(near, 0, held), Reference(held, layout)


def calls(monkeypatch, name):
    """Return the list that grows with the answers of a kernel from now on."""
    kernel, answers = getattr(kernels, name), []

    def noting(*arguments):
        answers.append(kernel(*arguments))
        return answers[-1]

    monkeypatch.setattr(kernels, name, noting)
    return answers


@needs_kernel
@pytest.mark.parametrize("moved", [1e-4, 3e-3, 0.03])
def test_usual_messages_take_this_way(moved, monkeypatch):
    written, read = calls(monkeypatch, "encode_sparse_floats"), calls(monkeypatch, "decode_sparse_floats")
    sums = calls(monkeypatch, "add_sparse_floats")
    layout, compressed, reference = usual_message(moved=moved)
    message = encode(compressed, reference)
    total = np.zeros(layout.size)
    decode_add(message.data, layout, reference, total)
    decode(message.data, layout, reference)
    assert len(written) == len(read) == 1 and None not in (*written, *read)
    assert sums == [True]
    expected = np.zeros(layout.size)
    expected[compressed.indices()] = compressed.values
    assert np.array_equal(total, expected)


@needs_kernel
def test_both_index_coders_take_this_way():
    coders = {encode(*usual_message(moved=moved)[1:]).index_coder for moved in (1e-4, 3e-3, 0.03, 0.1)}
    assert coders == {"rice", "tokens"}


@pytest.mark.parametrize(
    "missing", ["fixed", "bitmap", "rice", "tokens", "bitmap-bytes", "float32-differences"]
)
def test_not_where_a_coder_that_is_compared_is_not_there(missing, monkeypatch):
    written = calls(monkeypatch, "encode_sparse_floats")
    _, compressed, reference = usual_message()
    message = encode(compressed, reference, numbered(set(names(available())) - {missing}))
    assert not written and missing not in (message.index_coder, message.value_coder)


@needs_kernel
@pytest.mark.parametrize(
    ("size", "moved", "taken"),
    [
        # 1000 marks are the fewest with tables for several contexts, and one in 16 the most without a coded bitmap.
        (100_000, 499, True),
        (100_000, 500, True),
        (100_000, 501, True),
        (32_000, 999, True),
        (32_000, 1000, False),
        (32_000, 1001, False),
    ],
)
def test_the_limits_are_those_of_the_coders(size: int, moved: int, taken: bool, monkeypatch) -> None:
    random = np.random.default_rng(size + moved)
    layout, k = Layout([size]), size // 4
    held = np.zeros(size, dtype=np.float32)
    held[random.choice(size, k, replace=False)] = 1 + random.random(k, dtype=np.float32)
    vector = held * np.float32(1.001)
    kept, others = np.flatnonzero(held), np.flatnonzero(held == 0)
    vector[random.choice(kept, moved, replace=False)] = 0
    vector[random.choice(others, moved, replace=False)] = 1
    mask, reference = kernels.support(vector), Reference(held, layout)
    compressed = Compressed(layout, mask, k, kernels.gather(vector, mask, k))
    written = calls(monkeypatch, "encode_sparse_floats")
    message = encode(compressed, reference)
    assert [sections is not None for sections in written] == [taken]
    one_by_one(monkeypatch)
    expected = encode(compressed, reference)
    assert message.data.tobytes() == expected.data.tobytes()
    assert_same(decode(message.data, layout, reference), compressed)


def test_a_message_is_its_own(monkeypatch):
    """Scratch memory is used again by the next message, not by the last one."""
    layout, compressed, reference = usual_message()
    first, (mask, values) = encode(compressed, reference).data, (compressed.mask, compressed.values)
    decoded = decode(first, layout, reference)
    assert decoded.mask is not None
    before = first.tobytes(), decoded.values.tobytes(), decoded.mask.tobytes()
    other = Compressed(layout, mask, compressed.count, -values)
    decode(encode(other, reference).data, layout, reference)
    assert (first.tobytes(), decoded.values.tobytes(), decoded.mask.tobytes()) == before
