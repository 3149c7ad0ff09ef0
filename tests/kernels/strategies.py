"""Vectors, bitmaps and integers for the kernels' tests."""

import numpy as np
from hypothesis import strategies as st

SPECIAL = np.array(
    [0, 0x80000000, 1, 0x80000001, 0x7FFFFF, 0x7F7FFFFF, 0xFF7FFFFF, 0x3F800000], dtype=np.uint32
)


@st.composite
def vectors(draw, max_size=3000):
    """float32 vectors, finite: of any bit patterns, normal, with heavy ties, with many zeros, denormal."""
    size = draw(st.one_of(st.integers(0, 70), st.integers(0, max_size)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    law = draw(st.sampled_from(["bits", "normal", "ties", "zeros", "denormal", "special"]))
    if law == "bits":
        vector = random.integers(0, 2**32, size, dtype=np.uint32).view(np.float32)
        vector[~np.isfinite(vector)] = 1
        return vector
    if law == "special":
        return random.choice(SPECIAL, size).view(np.float32)
    vector = random.standard_normal(size).astype(np.float32)
    if law == "ties":
        vector = np.round(vector * 2) / 2
    if law == "zeros":
        vector[random.random(size) < 0.9] = random.choice(np.array([0.0, -0.0], dtype=np.float32))
    if law == "denormal":
        vector *= np.float32(1e-41)
    return vector


@st.composite
def integers(draw, max_size=2000):
    """uint32 arrays, not empty: geometric, all of one value, of any bit length, or uniform over 32 bits."""
    size = draw(st.one_of(st.integers(1, 20), st.integers(1, max_size)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    law = draw(st.sampled_from(["geometric", "constant", "lengths", "uniform"]))
    if law == "geometric":
        return (random.geometric(draw(st.floats(0.001, 1)), size) - 1).astype(np.uint32)
    if law == "constant":
        return np.full(size, draw(st.integers(0, 2**32 - 1)), dtype=np.uint32)
    if law == "lengths":
        return (2 ** random.uniform(0, 32, size)).astype(np.uint32)
    return random.integers(0, 2**32, size, dtype=np.uint32)
