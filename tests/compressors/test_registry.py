from dataclasses import dataclass

import numpy as np
import pytest

from fedcomloc_mpi.compressors import build, names
from fedcomloc_mpi.errors import NonFiniteError
from fedcomloc_mpi.layout import Layout


@dataclass(frozen=True)
class Asked:
    density: float = 1.0
    bits: int = 32
    quant_norm: str = "max"
    lattice: str = "own"
    compressor: str = "topk"


LAYOUT = Layout([30, 70])


@pytest.mark.parametrize(
    ("direction", "name", "lossless"),
    [
        (None, "identity", True),
        (Asked(), "identity", True),
        (Asked(density=0.1), "topk", False),
        (Asked(bits=8), "quantize", False),
        (Asked(density=0.1, bits=8, quant_norm="l2"), "topk+quantize", False),
        (Asked(density=0.1, bits=8, lattice="shared"), "lattice", False),
        (Asked(bits=3, lattice="shared"), "lattice", False),
        (Asked(density=0.1, lattice="shared"), "topk", False),
    ],
)
def test_builds_what_is_asked_for(direction, name, lossless):
    compressor = build(direction, LAYOUT)
    assert (compressor.name, compressor.lossless) == (name, lossless)
    asked = direction or Asked()
    assert (compressor.density, compressor.bits) == (asked.density, asked.bits)
    assert name in names()
    vector = np.random.default_rng(0).standard_normal(100).astype(np.float32)
    compressed = compressor.compress(vector, key=1, reference=None)
    assert compressed.layout == LAYOUT
    assert compressed.count == round(asked.density * 100)
    assert (compressed.levels is None) == (asked.bits == 32)


@pytest.mark.parametrize("density", [0.0, -0.1, 1.5, float("nan")])
def test_refuses_a_density_out_of_range(density):
    with pytest.raises(ValueError, match="density"):
        build(Asked(density=density), LAYOUT)


def test_identity_is_a_copy_bit_for_bit():
    vector = np.array([0.0, -0.0, 1e-45, -3.4028235e38], dtype=np.float32)
    compressed = build(None, Layout([4])).compress(vector, key=0)
    assert compressed.values.tobytes() == vector.tobytes()
    assert not np.shares_memory(compressed.values, vector)
    assert compressed.mask is None and compressed.indices().tolist() == [0, 1, 2, 3]


def test_identity_refuses_what_is_not_finite():
    with pytest.raises(NonFiniteError, match="index 1"):
        build(None, Layout([2])).compress(np.array([1, np.nan], dtype=np.float32), key=0)


@pytest.mark.parametrize(
    "direction", [None, Asked(0.5), Asked(bits=4), Asked(0.5, 4), Asked(0.5, 4, "max", "shared")]
)
def test_an_empty_vector_is_a_vector(direction):
    for layout in (Layout([]), Layout([0, 0])):
        compressed = build(direction, layout).compress(np.zeros(0, dtype=np.float32), key=0)
        assert compressed.count == 0 and compressed.values.size == 0
