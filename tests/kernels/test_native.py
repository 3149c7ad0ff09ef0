"""The C kernels against their numpy twins, and against references written for the tests."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcomloc_mpi.errors import MessageError, NonFiniteError
from fedcomloc_mpi.kernels import native, twins
from fedcomloc_mpi.layout import Layout
from tests.kernels.strategies import integers, vectors

pytestmark = pytest.mark.skipif(
    native.library() is None, reason="the package was installed without a compiler"
)
BOTH = pytest.mark.parametrize("kernels", [native, twins], ids=["native", "twins"])


def by_sorting(vector, k):
    """The bitmap of the first k entries of a stable sort by magnitude."""
    flags = np.zeros(vector.size, dtype=bool)
    flags[np.argsort(-np.abs(vector.astype(np.float64)), kind="stable")[:k]] = True
    return np.packbits(flags, bitorder="little")


@BOTH
@given(vector=vectors(), part=st.floats(0, 1))
def test_select_keeps_the_largest_and_of_ties_the_first(kernels, vector, part):
    k = round(part * vector.size)
    assert kernels.select(vector, k).tobytes() == by_sorting(vector, k).tobytes()


@pytest.mark.parametrize("size", [16384, 16391, 100_003, 1_000_003])
@pytest.mark.parametrize("law", ["normal", "ties", "zeros", "one value", "blocks", "ascending"])
def test_select_by_sample(size, law):
    random = np.random.default_rng(size)
    vector = random.standard_normal(size).astype(np.float32)
    if law == "ties":
        vector = np.round(vector * 4) / 4
    elif law == "zeros":
        vector[random.random(size) < 0.9] = -0.0
    elif law == "one value":
        vector[:] = 3
    elif law == "blocks":
        vector = np.repeat(vector[: size // 64 + 1], 64)[:size].copy()
    elif law == "ascending":
        vector = np.sort(np.abs(vector))
    for k in (1, 7, size // 1000, size // 10, size // 3, size // 2, size - size // 10, size - 1):
        assert native.select(vector, k).tobytes() == by_sorting(vector, k).tobytes(), k


@pytest.mark.parametrize("size", [1000, 16_384, 100_003])
@pytest.mark.parametrize("law", ["normal", "ties", "zeros", "one value"])
def test_no_guess_changes_what_is_selected(size, law):
    random = np.random.default_rng(size)
    vector = random.standard_normal(size).astype(np.float32)
    if law == "ties":
        vector = np.round(vector * 4) / 4
    elif law == "zeros":
        vector[random.random(size) < 0.9] = -0.0
    elif law == "one value":
        vector[:] = 3
    for k in (0, 1, size // 10, size // 2, size - 1, size):
        expected, guess = by_sorting(vector, k).tobytes(), np.zeros(2, dtype=np.uint32)
        for wrong in (None, 0, 1, 0x3F800000, 0x7F7FFFFF, 0xFFFFFFFF, *random.integers(0, 2**32, 5).tolist()):
            if wrong is not None:
                guess[:] = wrong, random.integers(0, 2**32, dtype=np.uint32) >> random.integers(0, 32)
            assert native.select(vector, k, guess).tobytes() == expected
            # What it has become is a guess, too.
            nearby = vector * np.float32(1.001)
            assert native.select(nearby, k, guess).tobytes() == by_sorting(nearby, k).tobytes()


@BOTH
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [5, 20_000])
def test_select_refuses_what_is_not_finite(kernels, bad, size):
    for place in (0, size // 2, size - 1):
        vector = np.ones(size, dtype=np.float32)
        vector[place] = bad
        for k in (0, 1, size // 2, size):
            with pytest.raises(NonFiniteError):
                kernels.select(vector, k)


@given(vector=vectors(), part=st.floats(0, 1), weight=st.floats(-2, 2))
def test_bitmaps_and_gaps(vector, part, weight):
    size, k = vector.size, round(part * vector.size)
    mask = native.select(vector, k)
    assert native.popcount(mask) == twins.popcount(mask) == k
    assert native.support(vector).tobytes() == twins.support(vector).tobytes()
    held = native.support(vector)
    kept = native.gather(vector, held, native.popcount(held))
    assert native.fingerprint(held, kept, size) == twins.fingerprint(held, kept, size)
    inner = native.select(kept, round(part * kept.size))
    assert native.expand(inner, held).tobytes() == twins.expand(inner, held).tobytes()
    values, gaps = native.gather(vector, mask, k), native.gaps(mask, size, k)
    assert values.tobytes() == twins.gather(vector, mask, k).tobytes()
    assert gaps.tobytes() == twins.gaps(mask, size, k).tobytes()
    positions = native.positions(gaps)
    assert positions.tobytes() == twins.positions(gaps).tobytes()
    for kernels in (native, twins):
        assert kernels.gaps_of_positions(positions, size).tobytes() == gaps.tobytes()
        flipped = np.zeros_like(mask)
        kernels.flip(gaps, flipped, size)
        assert flipped.tobytes() == mask.tobytes()
    for kernels in (native, twins):
        back, count = kernels.unmark(gaps, None, 0, False, size)
        assert back.tobytes() == mask.tobytes() and count == k
    others = [None, held, np.packbits(np.arange(size) % 3 == 0, bitorder="little")]
    for first in others:
        for second in others:
            made = [kernels.mark(mask, size, first, second) for kernels in (native, twins)]
            assert [each.tobytes() if isinstance(each, np.ndarray) else each for each in made[0]] == [
                each.tobytes() if isinstance(each, np.ndarray) else each for each in made[1]
            ]
            base, inverted, marks, found = made[0]
            assert native.popcount(marks) == found.size <= size / 2
            known = (None, first, second)[base]
            for kernels in (native, twins):
                count = 0 if known is None else native.popcount(known)
                back, count = kernels.unmark(found, known, count, inverted, size)
                assert back.tobytes() == mask.tobytes() and count == k
    assert native.rice_parameter(gaps, 0, 9) == twins.rice_parameter(gaps, 0, 9)
    spread = [np.full(size, 7, dtype=np.float32) for _ in range(2)]
    native.scatter(values, mask, spread[0])
    twins.scatter(values, mask, spread[1])
    assert spread[0].tobytes() == spread[1].tobytes()
    sums = np.ones(size), np.ones(size)
    native.accumulate(values, mask, weight, sums[0])
    twins.accumulate(values, mask, weight, sums[1])
    assert sums[0].tobytes() == sums[1].tobytes()


@given(
    vector=vectors(),
    part=st.floats(0, 1),
    cuts=st.lists(st.floats(0, 1), max_size=4),
    bits=st.integers(1, 16),
    key=st.one_of(st.none(), st.integers(0, 2**64 - 1)),
    grow=st.sampled_from([1.0, 0.001, 0.0]),
)
def test_quantization(vector, part, cuts, bits, key, grow):
    size, k = vector.size, round(part * vector.size)
    places = sorted(round(cut * size) for cut in cuts)
    layout = Layout(np.diff([0, *places, size]).tolist())
    mask = None if k == size else native.select(vector, k)
    values = vector if mask is None else native.gather(vector, mask, k)
    scales = native.layer_maxima(values, mask, layout)
    assert scales.tobytes() == twins.layer_maxima(values, mask, layout).tobytes()
    scales *= np.float32(grow)
    steps = 2**bits - 1
    for limit in (steps, 2**30, 2**31 - 1):
        levels = native.quantize(values, mask, layout, scales, steps, limit, key)
        assert levels.tobytes() == twins.quantize(values, mask, layout, scales, steps, limit, key).tobytes()
        back = native.dequantize(levels, mask, layout, scales, steps)
        assert back.tobytes() == twins.dequantize(levels, mask, layout, scales, steps).tobytes()


@given(vector=vectors(), other=vectors(), top=st.one_of(st.none(), st.integers(0, 255)))
def test_differences(vector, other, top):
    size = min(vector.size, other.size)
    values, references = vector[:size].copy(), other[:size].copy()
    differences = native.float_differences(values, references)
    assert differences.tobytes() == twins.float_differences(values, references).tobytes()
    exponents, rest = native.split_floats(values)
    for one, two in zip((exponents, rest), twins.split_floats(values), strict=True):
        assert one.tobytes() == two.tobytes()
    found, classes = native.reference_classes(references, top)
    assert (found, classes.tolist()) == (lambda pair: (pair[0], pair[1].tolist()))(
        twins.reference_classes(references, top)
    )
    levels, predicted = values.view(np.int32), references.view(np.int32)
    for known in (predicted, None):
        words = native.level_differences(levels, known)
        assert words.tobytes() == twins.level_differences(levels, known).tobytes()
        if levels.size and levels.min() == -(2**31):
            continue
        for kernels in (native, twins):
            assert kernels.apply_level_differences(words, known, 2**31 - 1).tobytes() == levels.tobytes()
    for kernels in (native, twins):
        assert kernels.apply_float_differences(differences, references).tobytes() == values.tobytes()
        assert kernels.join_floats(exponents, rest).tobytes() == values.tobytes()


@BOTH
def test_decoded_values_are_checked(kernels):
    with pytest.raises(NonFiniteError):
        kernels.apply_float_differences(
            np.array([2], dtype=np.uint32), np.array([3.4028234663852886e38], np.float32)
        )
    with pytest.raises(NonFiniteError):
        kernels.join_floats(np.array([255], dtype=np.uint8), np.array([0], dtype=np.uint32))
    for words in ([512], [511 + 2], [2**32 - 1]):
        with pytest.raises(MessageError):
            kernels.apply_level_differences(np.array(words, dtype=np.uint32), None, 255)
    with pytest.raises(MessageError):
        kernels.flip(np.array([3, 2**32 - 1, 2**32 - 1], dtype=np.uint32), np.zeros(1, dtype=np.uint8), 8)
    with pytest.raises(MessageError):
        kernels.gaps_of_positions(np.array([3, 3], dtype=np.uint32), 8)


@given(values=integers(), width=st.integers(0, 32), shift=st.integers(0, 31))
def test_packing(values, width, shift):
    packed = native.pack(values, width)
    assert packed.tobytes() == twins.pack(values, width).tobytes()
    wanted = values & np.uint32((1 << width) - 1)
    for kernels in (native, twins):
        assert kernels.unpack(packed, values.size, width).tobytes() == wanted.tobytes()
        if packed.size:
            with pytest.raises(MessageError):
                kernels.unpack(packed[:-1], values.size, width)
    small = values >> np.uint32(16)
    section = native.rice_encode(small, shift)
    assert section.tobytes() == twins.rice_encode(small, shift).tobytes()
    assert section.size == native.rice_size(small, shift) == twins.rice_size(small, shift)
    for kernels in (native, twins):
        back, read = kernels.rice_decode(section, small.size, shift)
        assert back.tobytes() == small.tobytes() and read == section.size
        with pytest.raises(MessageError):
            kernels.rice_decode(section[:-1], small.size, shift)


@given(
    vector=vectors(600), part=st.floats(0, 1), mantissa=st.integers(0, 3), near=st.booleans(), data=st.data()
)
def test_float_differences_in_one_pass(vector, part, mantissa, near, data):
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    reference = vector if near else random.permutation(vector)
    size, k = vector.size, round(part * vector.size)
    if not k:
        return
    mask = None if k == size else native.select(vector, k)
    values = vector if mask is None else native.gather(vector, mask, k)
    known = reference if mask is None else native.gather(reference, mask, k)
    support = native.support(reference)
    held = native.gather(reference, support, native.popcount(support))
    for kernels in (native, twins):
        assert kernels.gather_known(held, support, mask, size, k).tobytes() == known.tobytes()
        assert kernels.gather_known(reference, None, mask, size, k).tobytes() == known.tobytes()
    made = []
    for kernels in (native, twins):
        top, plan, low = kernels.plan_float_differences(values, known, mantissa)
        section = np.concatenate((plan.encode(), low))
        made.append((top, plan.size, section.tobytes()))
        for reader in (native, twins):
            back, read = reader.decode_float_differences(section, known, top)
            assert back.tobytes() == values.tobytes() and read == section.size
    assert made[0] == made[1]
    damaged = section.copy()
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, section.size - 1))] ^= 1 << data.draw(st.integers(0, 7))
    damaged = damaged[: data.draw(st.integers(0, section.size))]
    results: list[tuple[bytes, int] | str] = []
    for reader in (native, twins):
        try:
            back, read = reader.decode_float_differences(damaged, known, top)
            results.append((back.tobytes(), read))
        except (MessageError, NonFiniteError) as error:
            results.append(type(error).__name__)
    assert results[0] == results[1]
