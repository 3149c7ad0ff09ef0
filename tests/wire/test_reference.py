import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors import bitmap, select_topk
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import Reference

A, B, C, M = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, (1 << 64) - 1


def fingerprint_by_the_page(vector):
    """docs/wire-format.md, word by word, in Python's integers."""

    def mix(z):
        z = ((z ^ (z >> 30)) * B) & M
        z = ((z ^ (z >> 27)) * C) & M
        return z ^ (z >> 31)

    def word(z):
        z = ((z ^ (z >> 32)) * B) & M
        return z ^ (z >> 29)

    def hashed(raw):
        words = [int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8)]
        total = 0
        for b in range(0, len(words), 8192):
            block = sum(word((w + (i + 1) * A) & M) for i, w in enumerate(words[b : b + 8192]))
            total += mix((block + (b // 8192 + 1) * A) & M)
        return mix((total + len(raw)) & M)

    bits = vector.view(np.uint32).tolist()
    bitmap = sum(1 << i for i, each in enumerate(bits) if each).to_bytes(-(-len(bits) // 8), "little")
    values = b"".join(each.to_bytes(4, "little") for each in bits if each)
    return mix((hashed(bitmap) + mix((hashed(values) + A) & M) + len(bits)) & M)


def fingerprint(vector):
    return Reference(vector, Layout([vector.size])).fingerprint


@pytest.mark.parametrize("size", [0, 1, 2, 3, 63, 64, 65, 1000, 16383, 16384, 16385, 16386, 40_001])
def test_fingerprint_is_what_the_page_says(size):
    random = np.random.default_rng(size)
    vector = random.standard_normal(size).astype(np.float32)
    assert fingerprint(vector) == fingerprint_by_the_page(vector)
    vector[random.random(size) < 0.8] = random.choice(np.array([0.0, -0.0], dtype=np.float32))
    assert fingerprint(vector) == fingerprint_by_the_page(vector)


def test_fingerprint_of_fixed_vectors():
    # Never to change without another version of the format.
    assert fingerprint(np.zeros(0, np.float32)) == 0x48218226FF3CD4BF
    assert fingerprint(np.arange(5, dtype=np.float32)) == 0x3192F66F082BC0A0


@pytest.mark.parametrize("size", [1, 2, 31, 64])
def test_every_single_bit_changes_the_fingerprint(size):
    words = np.random.default_rng(size).integers(0, 2**31, size, dtype=np.uint32)
    seen = {fingerprint(words.view(np.float32))}
    for bit in range(32 * size):
        changed = words.copy()
        changed[bit // 32] ^= np.uint32(1 << bit % 32)
        seen.add(fingerprint(changed.view(np.float32)))
    assert len(seen) == 32 * size + 1


@pytest.mark.parametrize("kind", ["normal", "signs", "mostly zero"])
def test_every_exchange_of_two_different_entries_changes_the_fingerprint(kind):
    random = np.random.default_rng(3)
    vector = random.standard_normal(120).astype(np.float32)
    if kind == "signs":
        vector = np.sign(vector)
    elif kind == "mostly zero":
        vector[random.random(120) < 0.9] = 0
        vector[::7] = -0.0
    words = vector.view(np.uint32)
    original = fingerprint(vector)
    for i in range(120):
        for j in range(i):
            if words[i] != words[j]:
                changed = vector.copy()
                changed[[i, j]] = vector[[j, i]]
                assert fingerprint(changed) != original, (i, j)


def test_exchanged_blocks_and_trailing_zeros_change_the_fingerprint():
    vector = np.random.default_rng(0).standard_normal(32768).astype(np.float32)
    assert fingerprint(np.roll(vector, 16384)) != fingerprint(vector)
    assert len({fingerprint(np.zeros(size, np.float32)) for size in range(50)}) == 50


def test_is_computed_once_and_only_when_asked_for(monkeypatch):
    calls = []

    def counted(mask, values, size):
        calls.append(values.size)
        return 7

    monkeypatch.setattr(kernels, "fingerprint", counted)
    reference = Reference(np.ones(3, np.float32), Layout([3]))
    assert calls == []
    assert (reference.fingerprint, reference.fingerprint, calls) == (7, 7, [3])


@settings(deadline=None)
@given(data=st.data())
def test_masks(data):
    vector = np.array(
        data.draw(st.lists(st.sampled_from([0.0, -0.0, 1.5, -2.0, 1e-45]), max_size=40)), np.float32
    )
    reference = Reference(vector, Layout([vector.size]))
    expected = [i for i, word in enumerate(vector.view(np.uint32).tolist()) if word]
    assert bitmap.to_indices(reference.support_mask, vector.size).tolist() == expected
    for k in (0, vector.size // 2, vector.size):
        assert reference.topk_mask(k).tobytes() == select_topk(vector, k).tobytes(), k
    assert reference.topk_mask(0) is reference.topk_mask(0)


@pytest.mark.parametrize(
    "vector", [np.zeros(3, np.float64), np.zeros(4, np.float32), np.zeros(6, np.float32)[::2]]
)
def test_refuses_another_shape_or_dtype(vector):
    with pytest.raises(ValueError, match="contiguous float32"):
        Reference(vector, Layout([3]))


@pytest.mark.parametrize("nonzero", [0, 50, 150])
def test_of_zeros_the_first_are_among_the_largest_whatever_their_sign(nonzero):
    random = np.random.default_rng(nonzero)
    vector = np.zeros(200_000, dtype=np.float32)
    vector[random.choice(vector.size, 60_000, replace=False)] = -0.0
    vector[random.choice(vector.size, nonzero, replace=False)] = random.standard_normal(nonzero)
    expected = select_topk(vector, 100)
    assert np.array_equal(expected, Reference(vector, Layout([vector.size])).topk_mask(100))


def test_what_was_near_changes_nothing():
    """A reference that knows the one before, and its own support, is the same as one that knows nothing."""
    random = np.random.default_rng(3)
    layout = Layout([200_000])
    vector = random.standard_normal(layout.size).astype(np.float32) * (random.random(layout.size) < 0.2)
    vector = vector.astype(np.float32)
    last = None
    for near in (vector, vector * np.float32(1.01), vector * np.float32(1e3), np.zeros_like(vector)):
        alone = Reference(near, layout)
        last = Reference(near, layout, (alone.support_mask, alone.values), last)
        assert np.array_equal(last.topk_mask(20_000), alone.topk_mask(20_000))
        assert last.fingerprint == alone.fingerprint
