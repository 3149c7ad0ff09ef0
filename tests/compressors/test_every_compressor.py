"""What holds for every compressor: exact k, contraction, determinism from the run's keys, refusal of NaN and infinity.

Unbiasedness, ties and agreement with definitions are tested beside each of them.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedcomloc_mpi.compressors import Compressor, build, kept_entries, register_compressor
from fedcomloc_mpi.compressors.registry import _FACTORIES
from fedcomloc_mpi.config import COMPRESSORS
from fedcomloc_mpi.errors import NonFiniteError
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.randomness import Purpose, key


@dataclass(frozen=True)
class Asked:
    density: float = 1.0
    bits: int = 32
    quant_norm: str = "max"
    lattice: str = "own"
    compressor: str = "topk"


DENSITIES, BITS = (1.0, 0.5, 0.1, 0.01), (32, 16, 4, 1)
ASKED = [Asked(density, bits, norm) for density in DENSITIES for bits in BITS for norm in ("max", "l2")]
# Zeros of both signs, ties, denormals, large values whose squares still fit into float32.
VALUES = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0**-149, -(2.0**-149), 2.0**-127, 2.0**50, -(2.0**50)]
finite = st.one_of(st.sampled_from(VALUES), st.floats(-(2.0**50), 2.0**50, width=32))


@st.composite
def compressions(draw: st.DrawFn) -> tuple[Asked, Compressor, np.ndarray, int]:
    """A compressor for a drawn layout, a vector of it, and a key as a run makes it."""
    layout = Layout(draw(st.lists(st.integers(0, 40), max_size=5)))
    asked = draw(st.sampled_from(ASKED))
    vector = draw(hnp.arrays(np.float32, layout.size, elements=finite))
    numbers = draw(st.tuples(*[st.integers(0, 2**32)] * 4))
    return asked, build(asked, layout), vector, key(numbers[0], Purpose.COMPRESS_UPLINK, *numbers[1:])


def decompressed(compressor: Compressor, vector: np.ndarray, stream: int) -> np.ndarray:
    out = np.full_like(vector, np.nan)
    compressor.compress(vector, stream).write_to(out)
    return out


@given(compressions())
def test_keeps_exactly_k_and_says_so(drawn: tuple[Asked, Compressor, np.ndarray, int]) -> None:
    asked, compressor, vector, stream = drawn
    compressed = compressor.compress(vector, stream)
    k = kept_entries(asked.density, vector.size)
    assert compressed.count == compressed.indices().size == compressed.values.size == k
    assert np.all(np.diff(compressed.indices()) > 0)
    assert (compressor.density, compressor.bits) == (asked.density, asked.bits)
    assert compressor.lossless == (asked.density == 1 and asked.bits == 32)
    if compressor.lossless:
        assert decompressed(compressor, vector, stream).tobytes() == vector.tobytes()


@given(compressions())
def test_is_a_contraction_up_to_the_lattice(drawn: tuple[Asked, Compressor, np.ndarray, int]) -> None:
    """|C(x) - x|^2 <= (1 - k / d) |x|^2 for TopK; each quantized entry adds at most one step of its layer's lattice."""
    asked, compressor, vector, stream = drawn
    if not vector.size:
        return
    compressed = compressor.compress(vector, stream)
    exact, found = vector.astype(np.float64), decompressed(compressor, vector, stream).astype(np.float64)
    left_out = np.ones(vector.size, dtype=bool)
    left_out[compressed.indices()] = False
    assert not found[left_out].any()
    k = compressed.count
    lost = np.sum(exact[left_out] ** 2)
    assert lost <= (1 - k / vector.size) * np.sum(exact**2) * (1 + 1e-12)
    if compressed.levels is None:
        assert np.array_equal(found[~left_out], exact[~left_out])
    else:
        layer_of = np.repeat(np.arange(len(compressor.layout.sizes)), compressor.layout.sizes)  # type: ignore[attr-defined]
        step = compressed.levels.scales.astype(np.float64)[layer_of] / (2**asked.bits - 1)
        assert np.all(np.abs(found - exact)[~left_out] <= (step * (1 + 1e-6) + 2e-45)[~left_out])


@given(compressions())
def test_is_a_function_of_the_vector_and_the_key(drawn: tuple[Asked, Compressor, np.ndarray, int]) -> None:
    _, compressor, vector, stream = drawn
    before = vector.copy()
    first, again = (decompressed(compressor, vector, stream) for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert vector.tobytes() == before.tobytes()


@pytest.mark.parametrize("asked", [asked for asked in ASKED if asked.bits < 16], ids=str)
def test_seed_round_client_and_step_each_round_differently(asked: Asked) -> None:
    layout = Layout([3000, 1000])
    vector = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    compressor = build(asked, layout)
    places = [(0, 1, 2, 3), (1, 1, 2, 3), (0, 2, 2, 3), (0, 1, 3, 3), (0, 1, 2, 4)]
    streams = [key(seed, Purpose.COMPRESS_UPLINK, *rest) for seed, *rest in places]
    streams.append(key(0, Purpose.COMPRESS_DOWNLINK, 1, 2, 3))
    assert len({decompressed(compressor, vector, stream).tobytes() for stream in streams}) == len(streams)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_refuses_nan_and_infinity_wherever_they_are(asked: Asked, bad: float) -> None:
    for position in (0, 7, 49, 99):
        vector = np.linspace(-1, 1, 100, dtype=np.float32)
        vector[position] = bad
        with pytest.raises(NonFiniteError):
            build(asked, Layout([50, 50])).compress(vector, key(0, Purpose.COMPRESS_UPLINK))


def test_a_registered_compressor_is_built_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for table in (_FACTORIES, COMPRESSORS):
        monkeypatch.setitem(table, "mine", None)
        del table["mine"]
    register_compressor("mine", lambda direction, layout: build(Asked(direction.density / 2), layout))
    assert "mine" in COMPRESSORS
    assert build(Asked(0.5, compressor="mine"), Layout([8])).density == 0.25
    for taken in ("mine", "topk", "identity", "topk+quantize"):
        with pytest.raises(ValueError, match="already"):
            register_compressor(taken, lambda direction, layout: build(None, layout))
