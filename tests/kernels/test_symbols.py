"""Tokens and the entropy coder: the C kernels against their twins, and what both refuse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomloc_mpi.errors import MessageError
from fedcomloc_mpi.kernels import BYTES, Mode, native, twins
from tests.kernels.strategies import integers

pytestmark = pytest.mark.skipif(
    native.library() is None, reason="the package was installed without a compiler"
)


@given(values=integers(), mantissa=st.integers(0, 3))
def test_tokens(values, mantissa):
    tokens, low_bits = native.tokenise(values, mantissa)
    other, other_bits = twins.tokenise(values, mantissa)
    assert tokens.tobytes() == other.tobytes() and low_bits == other_bits
    low = native.pack_low(values, mantissa, low_bits)
    assert low.tobytes() == twins.pack_low(values, mantissa, low_bits).tobytes()
    for kernels in (native, twins):
        back, read = kernels.unpack_low(low, tokens, mantissa)
        assert back.tobytes() == values.tobytes() and read == low.size
        if low.size:
            with pytest.raises(MessageError):
                kernels.unpack_low(low[:-1], tokens, mantissa)


@given(low=st.integers(0, 2**31), mantissa=st.integers(0, 3))
def test_tokens_ascend_with_the_integers(low, mantissa):
    tokens, _ = native.tokenise(np.arange(low, low + 100, dtype=np.uint32), mantissa)
    assert np.all(np.diff(tokens.astype(int)) >= 0)


@settings(max_examples=60)
@given(
    values=integers(600),
    kind=st.integers(0, BYTES),
    mode=st.sampled_from(Mode),
    spread=st.integers(1, 16),
    marks=st.booleans(),
)
def test_symbols(values, kind, mode, spread, marks):
    if kind == BYTES:
        symbols = values.astype(np.uint8)
        mode = Mode.SINGLE if mode == Mode.ADAPTIVE else mode
    else:
        symbols, _ = native.tokenise(values, kind)
    classes = (values % spread).astype(np.uint8) if mode == Mode.CLASSES else None
    universe = min(int(values.sum(dtype=np.int64)) + values.size, 2**32 - 1) if marks and kind != BYTES else 0
    plan = native.plan_symbols(symbols, kind, mode, classes, universe)
    twin = twins.plan_symbols(symbols, kind, mode, classes, universe)
    section = plan.encode()
    assert section.tobytes() == twin.encode().tobytes()
    assert plan.size == twin.size
    assert section.size <= plan.size + 1 <= section.size + 10
    for kernels in (native, twins):
        back, read = kernels.decode_symbols(section, symbols.size, kind, classes, universe)
        assert back.tobytes() == symbols.tobytes() and read == section.size
    for length in {0, 1, 2, section.size // 2, section.size - 1} - {section.size}:
        for kernels in (native, twins):
            with pytest.raises(MessageError):
                kernels.decode_symbols(section[:length], symbols.size, kind, classes, universe)


@settings(max_examples=60)
@given(values=integers(200), kind=st.integers(0, 3), mode=st.sampled_from(Mode), data=st.data())
def test_both_decode_damaged_symbols_alike(values, kind, mode, data):
    symbols, _ = native.tokenise(values, kind)
    classes = (values % 5).astype(np.uint8) if mode == Mode.CLASSES else None
    section = native.plan_symbols(symbols, kind, mode, classes).encode().copy()
    for _ in range(data.draw(st.integers(1, 3))):
        section[data.draw(st.integers(0, section.size - 1))] ^= 1 << data.draw(st.integers(0, 7))
    results: list[tuple[bytes, int] | None] = []
    for kernels in (native, twins):
        try:
            back, read = kernels.decode_symbols(section, symbols.size, kind, classes)
            results.append((back.tobytes(), read))
        except MessageError:
            results.append(None)
    assert results[0] == results[1]


@pytest.mark.parametrize("density", [0.001, 0.01, 0.1, 0.3, 0.5])
def test_random_marks_take_little_more_than_the_bound(density):
    universe = 1_000_000
    random = np.random.default_rng(1)
    marks = np.flatnonzero(random.random(universe) < density)
    gaps = (np.diff(marks, prepend=-1) - 1).astype(np.uint32)
    tokens, low_bits = native.tokenise(gaps, 2)
    size = native.plan_symbols(tokens, 2, Mode.SINGLE, None, universe).encode().size + low_bits / 8
    share = marks.size / universe
    entropy = -universe * (share * np.log2(share) + (1 - share) * np.log2(1 - share)) / 8
    assert size < 1.005 * entropy + 20
