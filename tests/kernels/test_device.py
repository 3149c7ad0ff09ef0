"""The kernels in torch against those in C or numpy, bit for bit; shapes and dtypes also on the device `meta`."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedcomloc_mpi import kernels
from fedcomloc_mpi.kernels import device, twins
from fedcomloc_mpi.kernels.staging import to_device, to_host
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.randomness import uniforms
from tests.devices import DEVICES
from tests.kernels.strategies import vectors

pytestmark = pytest.mark.parametrize("where", DEVICES)
keys = st.integers(0, 2**64 - 1)


def rows_on(where: str, *rows: np.ndarray) -> Tensor:
    return to_device([torch.from_numpy(row) for row in rows], torch.device(where))


def on_host(tensor: Tensor) -> np.ndarray:
    (array,) = to_host([tensor])
    return array


def layout_of(data: st.DataObject, size: int) -> Layout:
    """A layout of `size` entries, empty layers among them."""
    ends = sorted(data.draw(st.lists(st.integers(0, size), max_size=4)))
    return Layout(np.diff([0, *ends, size]).tolist())


@given(data=st.data(), vector=vectors())
def test_select_and_pack_are_the_bitmap_of_the_other_kernels(
    where: str, data: st.DataObject, vector: np.ndarray
) -> None:
    k = data.draw(st.integers(0, vector.size))
    other = np.ascontiguousarray(vector[::-1])
    bitmaps = on_host(device.pack(device.select(rows_on(where, vector, other), k)))
    assert bitmaps.dtype == np.uint8
    for found, row in zip(bitmaps, (vector, other), strict=True):
        np.testing.assert_array_equal(found, kernels.select(row, k))


@pytest.mark.parametrize("size", [1, 8, 9, 4095, 199_210])
def test_positions_are_those_of_the_bitmap(where: str, size: int) -> None:
    vector = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    k = max(1, size // 10)
    flags = device.select(rows_on(where, vector, -vector), k)
    expected = np.flatnonzero(np.unpackbits(kernels.select(vector, k), bitorder="little"))
    np.testing.assert_array_equal(on_host(device.positions(flags, k)), [expected, expected])


@given(key=keys, other=keys, indices=st.lists(st.integers(0, 2**62), max_size=50))
def test_uniforms(where: str, key: int, other: int, indices: list[int]) -> None:
    flat = torch.tensor(indices, dtype=torch.int64, device=where)
    found = on_host(device.uniforms([key, other], flat))
    for row, stream in zip(found, (key, other), strict=True):
        np.testing.assert_array_equal(row, uniforms(stream, np.array(indices, dtype=np.int64)))


@given(data=st.data(), vector=vectors(max_size=400))
def test_layer_maxima(where: str, data: st.DataObject, vector: np.ndarray) -> None:
    layout, k = layout_of(data, vector.size), data.draw(st.integers(0, vector.size))
    rows = rows_on(where, vector)
    flags = device.select(rows, k)
    mask = kernels.select(vector, k)
    kept = kernels.gather(vector, mask, k)
    for found, expected in [
        (device.layer_maxima(rows, layout, flags), kernels.layer_maxima(kept, mask, layout)),
        (device.layer_maxima(rows, layout), kernels.layer_maxima(vector, None, layout)),
    ]:
        assert on_host(found)[0].tobytes() == expected.tobytes()


@given(data=st.data(), vector=vectors(max_size=400), bits=st.integers(1, 16), key=keys, own=st.booleans())
def test_quantize_and_dequantize(
    where: str, data: st.DataObject, vector: np.ndarray, bits: int, key: int, own: bool
) -> None:
    """With own scales, and with powers of two that are smaller than the largest entry, as on the shared lattice."""
    layout = layout_of(data, vector.size)
    scales = kernels.layer_maxima(vector, None, layout)
    steps = limit = (1 << bits) - 1
    if not own:
        scales = np.where(scales > 0, np.float32(2.0**-7), np.float32(0))
        steps, limit = 1, (1 << 31) - 1
    indices = torch.arange(vector.size, device=where)
    layers = device.layer_of(indices, layout)
    rows, scale_rows = rows_on(where, vector, vector), rows_on(where, scales, scales)
    offsets = device.uniforms([key, 0], indices)
    levels = device.quantize(rows, layers, scale_rows, steps, limit, offsets)
    values = on_host(device.dequantize(levels, layers, scale_rows, steps))
    for row, stream in enumerate((key, 0)):
        expected = kernels.quantize(vector, None, layout, scales, steps, limit, stream)
        np.testing.assert_array_equal(on_host(levels)[row], expected)
        decoded = kernels.dequantize(expected, None, layout, scales, steps)
        assert values[row].tobytes() == decoded.tobytes()
        assert decoded.tobytes() == twins.dequantize(expected, None, layout, scales, steps).tobytes()


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite(where: str, bad: float) -> None:
    good = np.array([1, -0.0, 3e38, -1e-45], dtype=np.float32)
    wrong = good.copy()
    wrong[2] = bad
    assert on_host(device.all_finite(rows_on(where, good, wrong))).tolist() == [True, False]


def test_shapes_and_dtypes_without_data(where: str) -> None:
    layout = Layout([30, 0, 71])
    rows = torch.empty(3, 101, device="meta")
    flags = device.select(rows, 20)
    assert (flags.shape, flags.dtype) == ((3, 101), torch.bool)
    assert (device.pack(flags).shape, device.pack(flags).dtype) == ((3, 13), torch.uint8)
    assert device.layer_maxima(rows, layout, flags).shape == (3, 3)
    indices = torch.empty(3, 20, dtype=torch.int64, device="meta")
    layers = device.layer_of(indices, layout)
    offsets = device.uniforms([1, 2, 3], indices)
    assert (offsets.shape, offsets.dtype) == ((3, 20), torch.float64)
    scales, kept = torch.empty(3, 3, device="meta"), torch.empty(3, 20, device="meta")
    levels = device.quantize(kept, layers, scales, 255, 255, offsets)
    assert (levels.shape, levels.dtype) == ((3, 20), torch.int32)
    values = device.dequantize(levels, layers, scales, 255)
    assert (values.shape, values.dtype) == ((3, 20), torch.float32)
