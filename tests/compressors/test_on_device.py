"""What is compressed on a device is what the host would have made, bit for bit, and so is the message."""

from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcomloc_mpi.compressors import Compressed, Compressor, build, on_device
from fedcomloc_mpi.compressors.on_device import DeviceCompressor
from fedcomloc_mpi.compressors.topk import TopK
from fedcomloc_mpi.errors import NonFiniteError
from fedcomloc_mpi.kernels.staging import to_device, to_host
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import Reference, available, encode
from tests.compressors.test_every_compressor import Asked
from tests.devices import DEVICES
from tests.kernels.strategies import vectors

pytestmark = pytest.mark.parametrize("where", DEVICES)
ASKED = [
    Asked(density, bits, norm, lattice)
    for density in (1.0, 0.5, 0.1, 0.01)
    for bits in (32, 16, 8, 7, 1)
    for norm, lattice in (("max", "own"), ("l2", "own"), ("max", "shared"))
]
KEYS = [0, 2**64 - 1, 12345]


def on_host(compressor: Compressor, row: np.ndarray, key: int, reference: np.ndarray) -> Compressed | None:
    try:
        return compressor.compress(row, key, reference)
    except NonFiniteError:
        return None


def assert_same(found: Compressed | None, expected: Compressed | None) -> None:
    """Every part of it; and the bytes that travel."""
    if found is None or expected is None:
        assert found is expected
        return
    assert found.count == expected.count
    assert found.values.tobytes() == expected.values.tobytes()
    assert (found.mask is None) == (expected.mask is None)
    if found.mask is not None and expected.mask is not None:
        assert found.mask.tobytes() == expected.mask.tobytes()
    if found.levels is None or expected.levels is None:
        assert found.levels is expected.levels
    else:
        for name in ("bits", "lattice", "key"):
            assert getattr(found.levels, name) == getattr(expected.levels, name)
        for name in ("levels", "scales"):
            one, other = getattr(found.levels, name), getattr(expected.levels, name)
            assert one.dtype == other.dtype and one.tobytes() == other.tobytes(), name


@given(asked=st.sampled_from(ASKED), data=st.data(), vector=vectors(max_size=600))
def test_the_same_bits_as_on_the_host(
    where: str, asked: Asked, data: st.DataObject, vector: np.ndarray
) -> None:
    ends = sorted(data.draw(st.lists(st.integers(0, vector.size), max_size=3)))
    layout = Layout(np.diff([0, *ends, vector.size]).tolist())
    reference = np.roll(vector, 1) if data.draw(st.booleans()) else np.zeros_like(vector)
    rows = np.stack([vector, vector[::-1], np.full_like(vector, data.draw(st.sampled_from([0, np.nan])))])
    compressor = build(asked, layout)
    rows_there = to_device([torch.from_numpy(row) for row in rows], torch.device(where))
    before = rows_there.clone()
    with np.errstate(over="ignore"):
        found = DeviceCompressor(compressor, layout).compress(rows_there, KEYS, reference)
        dense = DeviceCompressor(compressor, layout).decompressed(rows_there, KEYS, reference)
        expected = [
            on_host(compressor, np.ascontiguousarray(row), key, reference)
            for row, key in zip(rows, KEYS, strict=True)
        ]
    assert torch.equal(rows_there.view(torch.int32), before.view(torch.int32)), (
        "what is compressed stays as it is"
    )
    out = np.empty_like(vector)
    (decompressed,) = to_host([dense])
    for one, other, values in zip(found, expected, decompressed, strict=True):
        assert_same(one, other)
        if other is not None:
            other.write_to(out)
            assert values.tobytes() == out.tobytes()


@pytest.mark.parametrize("asked", [Asked(0.1), Asked(0.1, 8), Asked(1.0, 4), Asked(0.1, 8, lattice="shared")])
def test_the_message_has_the_same_bytes(where: str, asked: Asked) -> None:
    layout = Layout([784 * 200, 200, 200 * 200, 200, 2000, 10])
    random = np.random.default_rng(1)
    reference = random.standard_normal(layout.size).astype(np.float32)
    rows = [reference + 0.1 * random.standard_normal(layout.size).astype(np.float32) for _ in range(3)]
    compressor, known = build(asked, layout), Reference(reference, layout)
    rows_there = to_device([torch.from_numpy(row) for row in rows], torch.device(where))
    found = DeviceCompressor(compressor, layout).compress(rows_there, KEYS, reference)
    for row, key, compressed in zip(rows, KEYS, found, strict=True):
        assert compressed is not None
        message = encode(compressor.compress(row, key, reference), known, available()).data
        assert encode(compressed, known, available()).data.tobytes() == message.tobytes()


@pytest.mark.parametrize(
    ("asked", "most"),
    [
        (Asked(0.1), 0.1 * 4 + 1 / 8),
        (Asked(0.1, 7), 0.1 * 1 + 1 / 8),
        (Asked(0.1, 8), 0.1 * 2 + 1 / 8),
        (Asked(1.0, 4), 1.0),
        (Asked(0.1, 8, "l2"), 0.1 * 4 + 1 / 8),
    ],
)
def test_only_what_is_kept_crosses_to_the_host(where: str, asked: Asked, most: float) -> None:
    """At most so many bytes an entry, and a few more."""
    layout, crossed = Layout([60_000, 40_000]), 0

    def counted(tensors: list[torch.Tensor]) -> list[np.ndarray]:
        nonlocal crossed
        crossed += sum(tensor.nbytes for tensor in tensors)
        return to_host(tensors)

    rows = torch.randn(2, layout.size, generator=torch.Generator().manual_seed(1)).to(where)
    with patch.object(on_device, "to_host", counted):
        DeviceCompressor(build(asked, layout), layout).compress(rows, [1, 2])
    assert crossed <= 2 * (most * layout.size + 64)


@dataclass(frozen=True)
class Own(TopK):
    """A compressor that the device knows nothing of."""

    name = "own"

    def compress(self, vector: np.ndarray, key: int, reference: np.ndarray | None = None) -> Compressed:
        return super().compress(vector * np.float32(2), key, reference)


def test_a_compressor_that_only_the_host_knows(where: str) -> None:
    layout = Layout([50])
    rows = torch.arange(100, dtype=torch.float32).view(2, 50).to(where)
    compressor = DeviceCompressor(Own(layout, 0.1), layout)
    first, second = compressor.compress(rows, [1, 2])
    assert first is not None and first.values.tolist() == [90, 92, 94, 96, 98]
    assert second is not None and second.values.tolist() == [190, 192, 194, 196, 198]
    assert compressor.decompressed(rows, [1, 2]).sum(dim=1).tolist() == [470, 970]
    rows[0, 3] = torch.nan
    assert [each is None for each in compressor.compress(rows, [1, 2])] == [True, False]
    assert compressor.decompressed(rows, [1, 2]).isnan().all(dim=1).tolist() == [True, False]
