"""A small classification problem that a linear model can solve, for demonstrations and for tests of theory.

With `--model logistic` and `--weight-decay` its training loss is smooth and strongly convex. Partitioned by label
(dirichlet with a small alpha, or shards), clients have different minimisers.
"""

import numpy as np
from numpy.typing import NDArray

from fedcomloc_mpi.randomness import Purpose, generator

CLASSES = 10
FEATURES = 20
TRAIN_SAMPLES = 2000
TEST_SAMPLES = 1000

# Distance of the classes' centres in units of the noise: neighbours overlap, so no linear model is always right.
_SPREAD = 0.6


def samples() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Return (train inputs, train labels, test inputs, test labels); always the same, whatever the run's seed.

    Inputs are float32 [N, FEATURES], labels int64 [N]. A label is uniform, an input the centre of its class plus
    standard normal noise, divided by sqrt(FEATURES), so that squared norms are about 1.
    """
    random = generator(0, Purpose.SYNTHETIC_DATA)
    centres = _SPREAD * random.standard_normal((CLASSES, FEATURES))
    labels = random.integers(CLASSES, size=TRAIN_SAMPLES + TEST_SAMPLES)
    inputs = centres[labels] + random.standard_normal((labels.size, FEATURES))
    inputs = (inputs / np.sqrt(FEATURES)).astype(np.float32)
    return (
        inputs[:TRAIN_SAMPLES],
        labels[:TRAIN_SAMPLES],
        inputs[TRAIN_SAMPLES:],
        labels[TRAIN_SAMPLES:],
    )
