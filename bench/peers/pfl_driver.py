"""The job in pfl 0.6.0: every process simulates its share of the cohort, and the sums of updates are all-reduced."""

import os
from collections.abc import Iterator

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn

from bench.peers.job import CLIENTS, COHORT, RATE, STEPS, Job, RoundClock, network


class Network(nn.Module):
    """The network with the loss, as pfl wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = network()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)

    def loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        return nn.functional.cross_entropy(self(inputs), labels)

    def metrics(self, inputs: Tensor, labels: Tensor) -> dict:
        """Return nothing: no client is evaluated."""
        return {}


class Client(Dataset):
    """A client's data, handed out in the job's minibatches."""

    def __init__(self, job: Job, client: int) -> None:
        super().__init__(raw_data=(job.parts[client],), user_id=str(client))
        self._job, self._client = job, client

    def iter(self, batch_size: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        return self._job.batches(self._client)


class Ticks(TrainingProcessCallback):
    """The clock, after every central iteration."""

    def __init__(self) -> None:
        self.clock = RoundClock()

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: PyTorchModel, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        self.clock.tick()
        return False, Metrics()


job, ticks = Job.from_command_line(), Ticks()
module = Network()
model = PyTorchModel(module, torch.optim.SGD, torch.optim.SGD(module.parameters(), lr=1.0))
clients = FederatedDataset(
    lambda client: Client(job, client), get_user_sampler("minimize_reuse", list(range(CLIENTS)))
)
ticks.clock.tick()
FederatedAveraging().run(
    NNAlgorithmParams(
        central_num_iterations=job.rounds,
        evaluation_frequency=job.rounds + 1,
        train_cohort_size=COHORT,
        val_cohort_size=0,
    ),
    SimulatedBackend(training_data=clients, val_data=clients),
    model,
    NNTrainHyperParams(
        local_batch_size=None,
        local_num_epochs=None,
        local_num_steps=STEPS,
        local_learning_rate=RATE,
    ),
    callbacks=[ticks],
)
if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
    ticks.clock.write(job.folder, job.accuracy(module))
if torch.distributed.is_initialized():
    # All are done; torn down in no order, gloo's threads now and then abort a process.
    torch.distributed.barrier()
    os._exit(0)
