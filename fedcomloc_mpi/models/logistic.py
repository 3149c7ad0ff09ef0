"""Multinomial logistic regression: with weight decay the training loss is strongly convex."""

import math

from torch import nn


def logistic(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return Linear(inputs, classes) with biases, for samples of any shape, flattened."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), classes))
