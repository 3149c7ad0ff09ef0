"""The convolutional network of FedCIFAR10: LeNet-5 with ReLU and maximum pooling."""

from torch import nn

from fedcomloc_mpi.errors import UserError

KERNEL = 5
POOL = 2


def cnn(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return two convolutions (6 and 16 channels, 5x5, ReLU, 2x2 max pooling), then Linear 120, 84, classes.

    Takes samples of shape (channels, height, width); 62 006 parameters for (3, 32, 32) and 10 classes. Raises
    UserError if nothing of the image is left after the second pooling (less than 16 pixels in height or
    width).
    """
    if len(input_shape) != 3:
        raise UserError(
            f"model 'cnn' takes images (channels, height, width), not samples of shape {input_shape}"
        )
    channels, height, width = input_shape
    rows, columns = _after_stages(height), _after_stages(width)
    if rows < 1 or columns < 1:
        raise UserError(
            f"image too small for model 'cnn': {height}x{width} pixels, at least 16x16 are needed; use --model mlp"
        )
    return nn.Sequential(
        nn.Conv2d(channels, 6, KERNEL),
        nn.ReLU(),
        nn.MaxPool2d(POOL),
        nn.Conv2d(6, 16, KERNEL),
        nn.ReLU(),
        nn.MaxPool2d(POOL),
        nn.Flatten(),
        nn.Linear(16 * rows * columns, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )


def _after_stages(pixels: int) -> int:
    for _ in range(2):
        pixels = (pixels - KERNEL + 1) // POOL
    return pixels
