"""Counter-based randomness: every draw is a pure function of (seed, purpose, round, client, step).

No generator is carried from one draw to the next, so the numbers do not depend on the number of ranks, on which rank
runs a client, or on whether a run was resumed. Generators are Philox4x64-10 (Salmon et al., "Parallel Random Numbers:
As Easy as 1, 2, 3", SC 2011); the stream of uniforms for stochastic rounding is SplitMix64 (Steele, Lea, Flood, "Fast
Splittable Pseudorandom Number Generators", OOPSLA 2014), whose j-th output needs no state and no multiword arithmetic,
so that C and GPU code can reproduce it entry by entry.
"""

from enum import IntEnum

import numpy as np

_MASK64 = (1 << 64) - 1
_PHILOX_ROUNDS = 10
_PHILOX_MULTIPLIER_1, _PHILOX_MULTIPLIER_2 = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_PHILOX_WEYL_1, _PHILOX_WEYL_2 = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_SPLITMIX_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_SPLITMIX_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_SPLITMIX_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)


class Purpose(IntEnum):
    """What a stream is for; part of every key. The numbers are part of a run's identity: never reuse or change one."""

    MODEL = 1
    PARTITION = 2
    COHORT = 3
    LOCAL_STEPS = 4
    MINIBATCH = 5
    COMPRESS_UPLINK = 6
    COMPRESS_DOWNLINK = 7
    COMPRESS_LOCAL_MODEL = 8
    COMPRESS_FOR_EVALUATION = 9
    SYNTHETIC_DATA = 10


def generator(
    seed: int, purpose: Purpose, round: int = 0, client: int = 0, step: int = 0
) -> np.random.Generator:
    """Return a fresh generator for one draw, or one sequence of draws that belongs together.

    All arguments are integers in [0, 2^64). The generator's key is (seed, purpose); round, client and step are the high
    words of its 256-bit counter, so streams of different keys never overlap before 2^64 blocks.
    """
    bits = np.random.Philox(
        key=np.array([seed & _MASK64, int(purpose)], dtype=np.uint64),
        counter=np.array([0, step, client, round], dtype=np.uint64),
    )
    return np.random.Generator(bits)


def key(seed: int, purpose: Purpose, round: int = 0, client: int = 0, step: int = 0) -> int:
    """Return a 64-bit key for `uniforms`, from the same counter-based source."""
    # The first output of `generator`'s bits, several times faster than making one: every message takes a key.
    k0, k1 = seed & _MASK64, int(purpose)
    c0, c1, c2, c3 = 1, step, client, round
    for _ in range(_PHILOX_ROUNDS):
        one, other = c0 * _PHILOX_MULTIPLIER_1, c2 * _PHILOX_MULTIPLIER_2
        c0, c1 = (other >> 64) ^ c1 ^ k0, other & _MASK64
        c2, c3 = (one >> 64) ^ c3 ^ k1, one & _MASK64
        k0, k1 = (k0 + _PHILOX_WEYL_1) & _MASK64, (k1 + _PHILOX_WEYL_2) & _MASK64
    return c0


def uniforms(key: int, indices: np.ndarray) -> np.ndarray:
    """Return float64 uniforms in [0, 1), one for each entry index.

    `indices` is an integer array of any shape with values in [0, 2^63); the result has its shape. Entry j of the stream
    is output number j + 1 of SplitMix64 seeded with `key`, its upper 53 bits scaled by 2^-53.
    """
    with np.errstate(over="ignore"):
        z = np.uint64(key) + (np.asarray(indices).astype(np.uint64) + np.uint64(1)) * _SPLITMIX_INCREMENT
        z = (z ^ (z >> np.uint64(30))) * _SPLITMIX_MULTIPLIER_1
        z = (z ^ (z >> np.uint64(27))) * _SPLITMIX_MULTIPLIER_2
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
