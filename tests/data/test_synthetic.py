import numpy as np

from fedcomloc_mpi.data import load, partition
from fedcomloc_mpi.data.synthetic import CLASSES, FEATURES, TEST_SAMPLES, TRAIN_SAMPLES


def test_shapes_and_types() -> None:
    data = load("synthetic")
    assert data.train_inputs.shape == (TRAIN_SAMPLES, FEATURES) and data.test_labels.shape == (TEST_SAMPLES,)
    assert data.input_shape == (FEATURES,) and data.classes == CLASSES
    for inputs, labels in ((data.train_inputs, data.train_labels), (data.test_inputs, data.test_labels)):
        assert inputs.dtype == np.float32 and inputs.flags.c_contiguous and np.isfinite(inputs).all()
        assert labels.dtype == np.int64 and np.array_equal(np.unique(labels), np.arange(CLASSES))


def test_is_always_the_same() -> None:
    one, other = load("synthetic"), load("synthetic")
    assert one.train_inputs.tobytes() == other.train_inputs.tobytes()
    assert np.array_equal(one.test_labels, other.test_labels)
    assert one.train_inputs[0].tobytes() != one.test_inputs[0].tobytes()


def test_a_linear_model_learns_it_but_never_perfectly() -> None:
    """Nearest centre of the training set is such a model."""
    data = load("synthetic")
    centres = np.stack(
        [data.train_inputs[data.train_labels == label].mean(axis=0) for label in range(CLASSES)]
    )
    distances = ((data.test_inputs[:, None] - centres) ** 2).sum(axis=2)
    accuracy = float((distances.argmin(axis=1) == data.test_labels).mean())
    assert 0.6 < accuracy < 0.95


def test_partitions_by_label_make_different_clients() -> None:
    data = load("synthetic")
    parts = partition(data.train_labels, "dirichlet", 20, alpha=0.1).clients
    means = np.stack([data.train_inputs[positions].mean(axis=0) for positions in parts])
    apart = np.linalg.norm(means - data.train_inputs.mean(axis=0), axis=1)
    assert np.median(apart) > 0.2
