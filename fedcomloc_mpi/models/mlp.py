"""The fully connected network of FedMNIST."""

import math

from torch import nn

HIDDEN = 200


def mlp(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return Linear(inputs, 200), ReLU, Linear(200, 200), ReLU, Linear(200, classes), with biases.

    Takes samples of any shape, flattened; 199 210 parameters for (1, 28, 28) and 10 classes.
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(input_shape), HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, classes),
    )
