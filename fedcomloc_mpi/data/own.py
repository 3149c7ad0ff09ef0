"""A data set that the user's program made: checked before anybody trains on it."""

import numpy as np
from numpy.typing import NDArray

from fedcomloc_mpi.data.datasets import Dataset
from fedcomloc_mpi.errors import UserError


def check_dataset(dataset: Dataset) -> None:
    """Raise UserError, naming the field, unless `dataset` is what `Dataset` says that it is."""
    if not isinstance(dataset, Dataset):
        raise UserError(f"dataset is {type(dataset).__name__}: it must be a fedcomloc_mpi.Dataset")
    if dataset.classes < 2:
        raise UserError(f"dataset.classes is {dataset.classes}: it must be at least 2")
    _check_split("train", dataset.train_inputs, dataset.train_labels, dataset)
    _check_split("test", dataset.test_inputs, dataset.test_labels, dataset)


def _check_split(split: str, inputs: NDArray, labels: NDArray, dataset: Dataset) -> None:
    for name, array, dtype in (
        (f"{split}_inputs", inputs, np.float32),
        (f"{split}_labels", labels, np.int64),
    ):
        if not isinstance(array, np.ndarray) or array.dtype != dtype or not array.flags.c_contiguous:
            kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise UserError(
                f"dataset.{name} is {kind}: it must be a C-contiguous numpy array of {dtype.__name__}"
            )
    if labels.ndim != 1 or len(labels) == 0 or inputs.shape != (len(labels), *dataset.input_shape):
        raise UserError(
            f"dataset.{split}_inputs has shape {inputs.shape} and {split}_labels {labels.shape}: they must be [N,"
            f" *input_shape] and [N], N at least 1, with input_shape {tuple(dataset.input_shape)}"
        )
    if not np.isfinite(inputs).all():
        raise UserError(f"dataset.{split}_inputs holds NaN or an infinity")
    if labels.min() < 0 or labels.max() >= dataset.classes:
        raise UserError(
            f"dataset.{split}_labels has values from {labels.min()} to {labels.max()}: they must be 0 to"
            f" {dataset.classes - 1}"
        )
