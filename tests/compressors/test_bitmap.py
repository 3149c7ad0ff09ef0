import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcomloc_mpi.compressors import bitmap
from fedcomloc_mpi.compressors.compressed import layer_bounds
from fedcomloc_mpi.layout import Layout


@given(flags=st.lists(st.booleans(), max_size=200))
def test_a_bitmap_is_what_its_definition_says(flags):
    size = len(flags)
    packed = bitmap.pack(np.array(flags, dtype=bool))
    assert [bool(packed[i // 8] >> (i % 8) & 1) for i in range(size)] == flags
    indices = [i for i, flag in enumerate(flags) if flag]
    assert bitmap.to_indices(packed, size).tolist() == indices
    assert bitmap.from_indices(np.array(indices, dtype=np.int64), size).tobytes() == packed.tobytes()
    assert bitmap.count(packed) == len(indices)
    assert packed.size == bitmap.byte_count(size)
    assert bitmap.padding_is_clear(packed, size)
    if size % 8:
        packed[-1] |= 0x80
        assert not bitmap.padding_is_clear(packed, size)


@pytest.mark.parametrize("size", [1, 50, 64, 1000, 4099])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.021, 0.05, 0.1, 0.101, 0.5, 1.0])
def test_indices_at_every_density(size, density):
    expected = np.sort(np.random.default_rng(size).permutation(size)[: int(density * size)])
    packed = bitmap.from_indices(expected, size)
    np.testing.assert_array_equal(bitmap.to_indices(packed, size), expected)


@given(size=st.integers(0, 300))
def test_complete(size):
    assert bitmap.complete(size).tobytes() == bitmap.pack(np.ones(size, dtype=bool)).tobytes()


@given(sizes=st.lists(st.integers(0, 20), max_size=6), data=st.data())
def test_layer_bounds_divide_the_kept_entries_among_the_layers(sizes, data):
    layout = Layout(sizes)
    every = list(range(layout.size))
    kept = sorted(data.draw(st.sets(st.sampled_from(every)))) if every else []
    bounds = layer_bounds(layout, np.array(kept, dtype=np.int64))
    for layer in range(len(sizes)):
        inside = [i for i in kept if layout.offsets[layer] <= i < layout.offsets[layer + 1]]
        assert kept[bounds[layer] : bounds[layer + 1]] == inside
    assert layer_bounds(layout, None) == list(layout.offsets)
