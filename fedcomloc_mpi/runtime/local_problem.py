"""A client's loss and its minibatch gradients, on one rank's model."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fedcomloc_mpi.models.flat import FlatModel
from fedcomloc_mpi.randomness import Purpose, generator

Compress = Callable[[Tensor, int], Tensor]


class LocalProblem:
    """The minibatch gradients of one client in one round; see `fedcomloc_mpi.algorithms.LocalProblem`.

    inputs: float32 [N, ...] and labels: int64 [N], the whole training set; positions: int64 [n_i], the samples of the
    client. Every call of `gradient` draws min(batch_size, n_i) distinct samples afresh, keyed by (seed, round, client,
    step); a batch size of 0 takes all samples every time. clip_norm: gradients are shortened to at most this Euclidean
    norm. weight_decay: then this times the model is added, the gradient of its squared norm times weight_decay / 2.
    """

    def __init__(
        self,
        model: FlatModel,
        loss: Callable[[Tensor, Tensor], Tensor],
        inputs: Tensor,
        labels: Tensor,
        positions: np.ndarray,
        batch_size: int,
        seed: int,
        round: int,
        client: int,
        compress: Compress,
        *,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        self._model, self._loss = model, loss
        self._inputs, self._labels, self._positions = inputs, labels, positions
        self._batch_size = batch_size
        self._seed, self._round, self._client = seed, round, client
        self._compress = compress
        self._weight_decay, self._clip_norm = weight_decay, clip_norm
        self._steps = 0
        self._loss_sum = 0.0

    @property
    def mean_loss(self) -> float:
        """Mean of the minibatch losses so far, without the term of weight decay."""
        return self._loss_sum / max(self._steps, 1)

    def gradient(self, model: Tensor) -> Tensor:
        """Return the gradient [d] of a fresh minibatch's loss at `model` [d]; overwritten by the next call."""
        batch = torch.from_numpy(self._draw())
        if self._model.vector is not model:
            self._model.bind(model)
        self._model.gradient.zero_()
        loss = self._loss(self._model.module(self._inputs[batch]), self._labels[batch])
        loss.backward()
        self._loss_sum += loss.item()
        self._steps += 1
        gradient = self._model.gradient
        if self._clip_norm is not None:
            norm = torch.linalg.vector_norm(gradient).item()
            if norm > self._clip_norm:
                gradient.mul_(self._clip_norm / norm)
        if self._weight_decay:
            gradient.add_(model, alpha=self._weight_decay)
        return gradient

    def compress(self, model: Tensor) -> Tensor:
        """Return C(model) [d], decompressed; overwritten by the next call."""
        return self._compress(model, self._steps)

    def _draw(self) -> np.ndarray:
        place = (self._seed, self._round, self._client, self._steps)
        return draw_minibatch(self._positions, self._batch_size, *place)


def draw_minibatch(
    positions: np.ndarray, batch_size: int, seed: int, round: int, client: int, step: int
) -> np.ndarray:
    """Return the samples of one step, int64, of a client with samples `positions`: see `LocalProblem`."""
    available = positions.size
    if batch_size == 0 or batch_size >= available:
        return positions
    random = generator(seed, Purpose.MINIBATCH, round, client, step)
    return positions[random.choice(available, size=batch_size, replace=False, shuffle=False)]
