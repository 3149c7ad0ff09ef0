"""The losses and minibatch gradients of several clients at once, in lock-step, on any device."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fedcomloc_mpi.models.batched import BatchedModel
from fedcomloc_mpi.runtime.local_problem import draw_minibatch

Compress = Callable[[Tensor, int], Tensor]


class LocalBatch:
    """The minibatch gradients of n clients in one round; what `LocalProblem` is to one client.

    inputs: [N, ...] and labels: int64 [N], the whole training set, on the device; positions: for each client its
    samples, int64; clients: their ids. The loss is cross-entropy. Every client draws the same minibatches as in a
    `LocalProblem`; one that has fewer samples than others is filled up with samples of weight 0. Models and gradients
    are [n, d], or [d] if there is one client.
    """

    def __init__(
        self,
        model: BatchedModel,
        inputs: Tensor,
        labels: Tensor,
        positions: Sequence[np.ndarray],
        batch_size: int,
        seed: int,
        round: int,
        clients: Sequence[int],
        compress: Compress,
        *,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        self._model, self._inputs, self._labels = model, inputs, labels
        self._positions, self._batch_size = positions, batch_size
        self._seed, self._round, self._clients = seed, round, clients
        self._compress = compress
        self._weight_decay, self._clip_norm = weight_decay, clip_norm
        self._steps = 0
        self._loss_sum = torch.zeros(len(clients), dtype=torch.float64, device=inputs.device)
        self._gradient = torch.empty(0)
        sizes = np.array([min(batch_size or each.size, each.size) for each in positions])
        self._width = int(sizes.max())
        shares = (np.arange(self._width) < sizes[:, None]) / sizes[:, None]
        self._weights = torch.from_numpy(shares).to(dtype=inputs.dtype, device=inputs.device)

    def mean_losses(self) -> np.ndarray:
        """Return every client's mean minibatch loss so far, float64 [n], without the term of weight decay."""
        losses: np.ndarray = self._loss_sum.cpu().numpy() / max(self._steps, 1)
        return losses

    def gradient(self, model: Tensor) -> Tensor:
        """Return the gradients of fresh minibatches' losses at `model`, in its shape; overwritten by the next call."""
        models = model.view(len(self._clients), -1)
        if self._gradient.shape != models.shape:
            self._gradient = torch.empty_like(models)
        gradient = self._gradient
        batch = torch.from_numpy(self._draw()).to(self._inputs.device, non_blocking=True)
        labels = self._labels[batch]

        def weighted(outputs: Tensor) -> Tensor:
            losses = cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="none")
            return (losses.view(labels.shape) * self._weights).sum(dim=1)

        self._loss_sum += self._model.gradient(models, self._inputs[batch], weighted, gradient)
        self._steps += 1
        if self._clip_norm is not None:
            norms = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
            gradient.mul_(torch.where(norms > self._clip_norm, self._clip_norm / norms, 1.0))
        if self._weight_decay:
            gradient.add_(models, alpha=self._weight_decay)
        return gradient.view(model.shape)

    def compress(self, model: Tensor) -> Tensor:
        """Return C of every model, decompressed, in the shape of `model`; overwritten by the next call."""
        return self._compress(model, self._steps)

    def _draw(self) -> np.ndarray:
        """Return the positions of the next minibatches, int64 [n, width]."""
        drawn = np.empty((len(self._clients), self._width), dtype=np.int64)
        for row, positions, client in zip(drawn, self._positions, self._clients, strict=True):
            batch = draw_minibatch(positions, self._batch_size, self._seed, self._round, client, self._steps)
            row[: batch.size] = batch
            row[batch.size :] = batch[0]
        return drawn
