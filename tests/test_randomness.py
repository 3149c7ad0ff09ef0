import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomloc_mpi.randomness import Purpose, generator, key, uniforms

MASK = (1 << 64) - 1
WORDS = st.integers(0, MASK)
COUNTS = st.integers(0, 2**40)
GOLDEN_KEY = 539919758809247044
GOLDEN_UNIFORMS = [0.058352015930815515, 0.5823072456218221, 0.187538931111923]
GOLDEN_CHOICE = [8, 13, 17, 18, 1]
GOLDEN_GEOMETRIC = [3, 11, 3, 15, 19, 2]


def splitmix64(seed: int, outputs: int) -> list[int]:
    """The published generator (Steele, Lea, Flood 2014; Vigna's splitmix64.c), with its state."""
    results, state = [], seed
    for _ in range(outputs):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        results.append(z ^ (z >> 31))
    return results


def philox4x64(counter: list[int], keys: list[int]) -> list[int]:
    """Philox4x64-10 (Salmon et al. 2011) on Python's integers."""
    (c0, c1, c2, c3), (k0, k1) = counter, keys
    for _ in range(10):
        high0, low0 = divmod(0xD2E7470EE14C6C93 * c0, 1 << 64)
        high1, low1 = divmod(0xCA5A826395121157 * c2, 1 << 64)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return [c0, c1, c2, c3]


def test_the_references_agree_with_published_outputs() -> None:
    assert splitmix64(1234567, 5) == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    # kat_vectors of Random123, philox4x64-10.
    assert philox4x64([0] * 4, [0] * 2) == [
        0x16554D9ECA36314C,
        0xDB20FE9D672D0FDC,
        0xD7E772CEE186176B,
        0x7E68B68AEC7BA23B,
    ]
    assert philox4x64([MASK] * 4, [MASK] * 2) == [
        0x87B092C3013FE90B,
        0x438C3C67BE8D0224,
        0x9CC7D7C69CD777B6,
        0xA09CAEBF594F0BA0,
    ]


@given(WORDS, st.integers(0, 100))
def test_uniforms_are_splitmix64(seed: int, count: int) -> None:
    expected = [(output >> 11) * 2.0**-53 for output in splitmix64(seed, count)]
    assert uniforms(seed, np.arange(count)).tolist() == expected


@given(WORDS, st.lists(st.integers(0, 2**63 - 1), max_size=10))
def test_every_uniform_needs_only_its_own_index(seed: int, indices: list[int]) -> None:
    together = uniforms(seed, np.array(indices, dtype=np.int64))
    alone = [float(uniforms(seed, np.array(index, dtype=np.int64))) for index in indices]
    assert together.tolist() == alone
    assert all(0 <= uniform < 1 for uniform in alone)


def test_uniforms_keep_the_shape_and_take_any_integers() -> None:
    indices = np.arange(6).reshape(2, 3)
    assert uniforms(3, indices).shape == (2, 3)
    for dtype in (np.uint8, np.int32, np.uint64):
        assert np.array_equal(uniforms(3, indices.astype(dtype)), uniforms(3, indices))
    assert uniforms(3, np.empty(0, dtype=np.int64)).shape == (0,)


def test_uniforms_are_uniform() -> None:
    count = 1 << 18
    for seed in (0, 1, MASK, key(0, Purpose.COMPRESS_UPLINK, 1, 2, 3)):
        drawn = np.sort(uniforms(seed, np.arange(count)))
        steps = np.arange(count) / count
        # Kolmogorov-Smirnov: sqrt(count) times the distance is above 2.5 with probability 2 exp(-12.5).
        assert np.abs(drawn - steps).max() < 2.5 / count**0.5
        assert drawn[0] >= 0.0
        assert drawn[-1] < 1.0


def test_streams_of_neighbouring_keys_are_uncorrelated() -> None:
    count = 1 << 16
    keys = [key(0, Purpose.COMPRESS_UPLINK, round, client) for round in (1, 2) for client in (0, 1, 2)]
    drawn = np.array([uniforms(each, np.arange(count)) for each in keys])
    correlations = np.corrcoef(drawn)[np.triu_indices(len(keys), 1)]
    assert np.abs(correlations).max() < 5 / count**0.5


@given(st.integers(0, 2**63 - 1), st.sampled_from(Purpose), COUNTS, COUNTS, COUNTS)
def test_keys_are_philox_blocks(seed: int, purpose: Purpose, round: int, client: int, step: int) -> None:
    # numpy advances the counter before it makes a block.
    block = philox4x64([1, step, client, round], [seed, int(purpose)])
    assert key(seed, purpose, round, client, step) == block[0]
    raw = generator(seed, purpose, round, client, step).bit_generator.random_raw(4)
    assert np.asarray(raw).tolist() == block


def test_keys_do_not_collide() -> None:
    values = (0, 1, 2, 3, 255, 256, 2**31, 2**32 - 1, 2**32)
    places = list(itertools.product((0, 1, 2**63 - 1), Purpose, values, values, values))
    assert len({key(*place) for place in places}) == len(places)


def test_a_purpose_has_a_number_of_its_own() -> None:
    """The numbers are part of every run's identity: a change makes old runs irreproducible."""
    assert {purpose.name: int(purpose) for purpose in Purpose}.items() >= {
        "MODEL": 1,
        "PARTITION": 2,
        "COHORT": 3,
        "LOCAL_STEPS": 4,
        "MINIBATCH": 5,
        "COMPRESS_UPLINK": 6,
        "COMPRESS_DOWNLINK": 7,
        "COMPRESS_LOCAL_MODEL": 8,
        "COMPRESS_FOR_EVALUATION": 9,
    }.items()
    assert len({int(purpose) for purpose in Purpose}) == len(Purpose.__members__)


def test_a_draw_depends_on_nothing_before_it() -> None:
    first = generator(5, Purpose.MINIBATCH, 3, 2, 1)
    first.random(1000)
    np.random.seed(1)
    again = generator(5, Purpose.MINIBATCH, 3, 2, 1)
    assert again.random(3).tolist() == generator(5, Purpose.MINIBATCH, 3, 2, 1).random(3).tolist()


def test_golden_values() -> None:
    """Numbers of today: a run of an older version is reproduced only while they stay."""
    assert key(0, Purpose.COMPRESS_UPLINK, 1, 2, 3) == GOLDEN_KEY
    assert uniforms(GOLDEN_KEY, np.arange(3)).tolist() == GOLDEN_UNIFORMS
    assert (
        generator(0, Purpose.COHORT, 1).choice(20, 5, replace=False, shuffle=False).tolist() == GOLDEN_CHOICE
    )
    assert generator(0, Purpose.LOCAL_STEPS, 1).geometric(0.1, 6).tolist() == GOLDEN_GEOMETRIC


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**64 - 1),
    purpose=st.sampled_from(Purpose),
    words=st.tuples(*[st.integers(0, 2**64 - 1)] * 3),
)
def test_a_key_is_the_first_output_of_the_generator(
    seed: int, purpose: Purpose, words: tuple[int, int, int]
) -> None:
    assert key(seed, purpose, *words) == int(generator(seed, purpose, *words).bit_generator.random_raw())
