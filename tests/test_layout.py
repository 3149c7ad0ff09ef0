import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcomloc_mpi.layout import Layout


@given(st.lists(st.integers(0, 10**6), max_size=20))
def test_layers_follow_one_another_without_a_gap(sizes: list[int]) -> None:
    layout = Layout(sizes)
    assert layout.sizes == tuple(sizes)
    assert layout.size == sum(sizes)
    assert layout.offsets[0] == 0
    assert layout.offsets[-1] == layout.size
    assert [end - start for start, end in zip(layout.offsets, layout.offsets[1:], strict=False)] == sizes


def test_layouts_of_equal_sizes_are_equal() -> None:
    assert Layout([2, 3]) == Layout((2, 3))
    assert hash(Layout([2, 3])) == hash(Layout((2, 3)))
    assert Layout([2, 3]) != Layout([3, 2])


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        Layout([3, -1])
