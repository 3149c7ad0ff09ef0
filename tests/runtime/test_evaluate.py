import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from fedcomloc_mpi.models import FlatModel, build
from fedcomloc_mpi.runtime.evaluate import Evaluator


@pytest.mark.parametrize("samples", [1, 999, 1000, 1001, 2500])
def test_loss_and_accuracy_over_all_batches(samples: int) -> None:
    random = np.random.default_rng(samples)
    inputs = torch.from_numpy(random.normal(size=(samples, 1, 4, 4)).astype(np.float32))
    labels = torch.from_numpy(random.integers(0, 5, samples))
    model = FlatModel(build("mlp", (1, 4, 4), 5, seed=1))
    evaluate = Evaluator(model, cross_entropy, inputs, labels)
    for scale in (0.5, 3.0):
        vector = scale * model.vector.clone()
        ordinary = build("mlp", (1, 4, 4), 5, seed=1).double()
        torch.nn.utils.vector_to_parameters(vector.double(), ordinary.parameters())
        with torch.no_grad():
            outputs = ordinary(inputs.double())
        before = vector.clone()
        loss, accuracy = evaluate(vector)
        assert loss == pytest.approx(cross_entropy(outputs, labels).item(), rel=1e-5)
        # A sample whose two best outputs are equal in single precision may count either way.
        best = outputs.topk(2).values
        unclear = int((best[:, 0] - best[:, 1] < 1e-5).sum())
        assert abs(accuracy * samples - int((outputs.argmax(1) == labels).sum())) <= unclear + 1e-9
        assert torch.equal(vector, before)


def test_training_goes_on_as_before() -> None:
    """Layers such as dropout act in training only, and evaluation leaves no gradients."""
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(16, 3))
    model = FlatModel(module)
    evaluate = Evaluator(model, cross_entropy, torch.ones(20, 1, 4, 4), torch.zeros(20, dtype=torch.int64))
    model.gradient.fill_(7)
    vector = model.vector.clone()
    assert evaluate(vector) == evaluate(vector)
    assert module.training
    assert (model.gradient == 7).all()


def test_a_diverged_model() -> None:
    model = FlatModel(build("mlp", (1, 4, 4), 3, seed=1))
    evaluate = Evaluator(model, cross_entropy, torch.ones(20, 1, 4, 4), torch.zeros(20, dtype=torch.int64))
    loss, accuracy = evaluate(torch.full_like(model.vector, torch.nan))
    assert np.isnan(loss)
    assert 0 <= accuracy <= 1
