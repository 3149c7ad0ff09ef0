"""Loss and accuracy on the test set."""

from collections.abc import Callable

import torch
from torch import Tensor

from fedcomloc_mpi.models.flat import FlatModel
from fedcomloc_mpi.runtime.devices import enough_memory, on_device

_BATCH = 1000  # the sum over batches is part of the numbers: changing this changes the last bits of test_loss


class Evaluator:
    """Evaluates flat parameter vectors on a test set of float32 inputs [N, ...] and int64 labels [N].

    The test set is on the model's device, the vectors on any.
    """

    def __init__(
        self, model: FlatModel, loss: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, labels: Tensor
    ) -> None:
        self._model, self._loss, self._inputs, self._labels = model, loss, inputs, labels

    @torch.no_grad()
    def __call__(self, vector: Tensor) -> tuple[float, float]:
        """Return (mean loss, share of correct predictions) of the model with parameters `vector` float32 [d]."""
        self._model.bind(vector.to(self._model.device))
        self._model.module.eval()
        total, correct = 0.0, 0
        for start in range(0, len(self._labels), _BATCH):
            inputs, labels = self._inputs[start : start + _BATCH], self._labels[start : start + _BATCH]
            outputs = self._model.module(inputs)
            total += self._loss(outputs, labels).item() * len(labels)
            correct += int((outputs.argmax(dim=1) == labels).sum())
        self._model.module.train()
        return total / len(self._labels), correct / len(self._labels)


def evaluator_on(
    device: torch.device,
    model: FlatModel,
    loss: Callable[[Tensor, Tensor], Tensor],
    inputs: Tensor,
    labels: Tensor,
) -> Evaluator:
    """Return an Evaluator that computes on `device`, with copies there of what lies elsewhere. Raises UserError."""
    if model.device == device:
        return Evaluator(model, loss, inputs, labels)
    with enough_memory(device):
        return Evaluator(
            FlatModel(on_device(model.module, device)), loss, inputs.to(device), labels.to(device)
        )
