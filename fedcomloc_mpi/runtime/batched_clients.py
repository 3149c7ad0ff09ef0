"""A rank's clients trained several at once, on the CPU or on a GPU."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedcomloc_mpi.algorithms import runs_batched
from fedcomloc_mpi.compressors import Compressed, Compressor
from fedcomloc_mpi.compressors.on_device import DeviceCompressor
from fedcomloc_mpi.errors import AgreedError, NonFiniteError
from fedcomloc_mpi.kernels.staging import to_device
from fedcomloc_mpi.metrics.stopwatch import Stopwatch
from fedcomloc_mpi.models.batched import BatchedModel
from fedcomloc_mpi.randomness import Purpose, key
from fedcomloc_mpi.runtime.client_state import ClientState
from fedcomloc_mpi.runtime.devices import enough_memory, on_device
from fedcomloc_mpi.runtime.local_batch import LocalBatch
from fedcomloc_mpi.runtime.setup import RoundPlan, Setup
from fedcomloc_mpi.runtime.training_data import TrainingData

Uploads = list[list[Compressed] | None]


def clients_at_once(setup: Setup) -> int | None:
    """Return how many clients of a rank are trained at once, None for all; 1 on the CPU unless --client-batch says so.

    Raises AgreedError for an algorithm that does not say that it can, if it is asked to.
    """
    asked, batched = setup.config.runtime.client_batch, runs_batched(type(setup.algorithm))
    if asked is not None and asked > 1 and not batched:
        raise AgreedError(
            f"client_batch is {asked}: the algorithm {setup.config.algorithm.algorithm} runs one client at a time, for"
            " its local steps are not marked as entrywise; --client-batch 1 does so"
        )
    if asked is not None:
        return asked
    return None if batched and setup.devices.on_gpu else 1


def batched_clients(setup: Setup, data: TrainingData, state: ClientState) -> "BatchedClients | None":
    """Return what trains this rank's clients; None on the server, and where a CPU trains them one after the other.

    Raises UserError as `clients_at_once` and BatchedClients do.
    """
    at_once = clients_at_once(setup)
    if setup.world.is_server or (at_once == 1 and not setup.devices.on_gpu):
        return None
    inputs, labels = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)
    return BatchedClients(setup, state, inputs, labels, data.partition, at_once)


class BatchedClients:
    """Trains the members of a cohort that fall to this rank, up to `at_once` of them in one set of kernels.

    Models are float32 [n, d] on the rank's device, where minibatches are drawn from too. What travels is compressed on
    a GPU where it lies, so that only the kept entries cross to the host; on the CPU by the host's compressors.
    """

    def __init__(
        self,
        setup: Setup,
        state: ClientState,
        inputs: Tensor,
        labels: Tensor,
        partition: Sequence[np.ndarray],
        at_once: int | None,
        *,
        compress_on_device: bool | None = None,
    ) -> None:
        """`inputs`, `labels`, `partition`: as for ClientRank; `at_once`: as `clients_at_once` says.

        compress_on_device: None for on a GPU only. Raises UserError for a model that cannot run batched, or that does
        not fit into the memory of the GPU together with the training set.
        """
        self._setup, self._state, self._partition, self._at_once = setup, state, partition, at_once
        self._device = device = setup.devices.mine
        on_gpu = setup.devices.on_gpu
        with enough_memory(device):
            self._model = BatchedModel(
                on_device(setup.model.module, device) if on_gpu else setup.model.module
            )
            self._inputs, self._labels = inputs.to(device), labels.to(device)
        if at_once != 1:
            self._check_model()
        self._uplink = self._deployed = None
        if on_gpu if compress_on_device is None else compress_on_device:
            self._uplink = DeviceCompressor(setup.uplink, setup.layout)
            if setup.deployed is not None:
                self._deployed = DeviceCompressor(setup.deployed, setup.layout)

    def train(
        self,
        plan: RoundPlan,
        before: Tensor,
        references: Sequence[np.ndarray | None],
        losses: np.ndarray,
        watch: Stopwatch,
    ) -> Uploads | None:
        """Run the local steps of this rank's clients of the round; write their mean minibatch losses into `losses`.

        before: float32 [vectors, d] in host memory, the last broadcast; references: float32 [d], what the compressor of
        each vector may adapt to; losses: float64, one for each of the rank's clients in order; watch: of the parts
        compute and select. What the clients upload is then in their state, as it is; or, on a GPU, compressed in what
        is returned: an entry for each client, None for one that is not finite.
        """
        setup = self._setup
        mine = plan.assignment.positions[setup.world.rank]
        uploads: Uploads = [None] * len(mine)
        with enough_memory(self._device), watch.part("compute"):
            broadcast = to_device(list(before), self._device) if setup.devices.on_gpu else before
            for slots in self._batches(plan, mine):
                positions = [mine[slot] for slot in slots]
                clients = [int(plan.cohort[position]) for position in positions]
                compress = _ModelCompressor(self, plan.round.number, clients, before[0], watch)
                trained, losses[slots] = self._local(plan, clients, broadcast, compress)
                if self._uplink is None:
                    self._store(plan, positions, trained)
                    continue
                with watch.part("select"):
                    compressed = self._compress(self._uplink, plan, clients, trained, references)
                for slot, each in zip(slots, compressed, strict=True):
                    uploads[slot] = each
        return None if self._uplink is None else uploads

    def _batches(self, plan: RoundPlan, mine: Sequence[int]) -> list[list[int]]:
        """Return the slots, numbers within `mine`, that are trained together."""
        # Clients of like size: fewer samples are filled up where minibatches are of different sizes.
        order = sorted(range(len(mine)), key=lambda slot: int(plan.work[mine[slot]]))
        size = self._at_once or max(len(mine), 1)
        return [order[start : start + size] for start in range(0, len(order), size)]

    def _local(
        self, plan: RoundPlan, clients: Sequence[int], broadcast: Tensor, compress: "_ModelCompressor"
    ) -> tuple[Tensor, np.ndarray]:
        """Return what the clients upload, [vectors, n, d], and their mean losses, [n]; complete on the device."""
        setup, training = self._setup, self._setup.config.algorithm
        problem = LocalBatch(
            self._model,
            self._inputs,
            self._labels,
            [self._partition[client] for client in clients],
            training.batch_size,
            training.seed,
            plan.round.number,
            clients,
            compress,
            weight_decay=training.weight_decay,
            clip_norm=training.clip_norm,
        )
        algorithm, size = setup.algorithm, setup.layout.size
        upload = torch.empty(algorithm.uplink_vectors, len(clients), size, device=self._device)
        states = [self._state.of(client) for client in clients]
        control = [
            to_device([state[vector] for state in states], self._device)
            for vector in range(algorithm.control_vectors)
        ]
        alone = self._at_once == 1  # an algorithm that is not marked as entrywise is given vectors
        algorithm.local(
            plan.round,
            tuple(broadcast),
            tuple(each[0] for each in control) if alone else tuple(control),
            problem,
            tuple(each[0] for each in upload) if alone else tuple(upload),
        )
        return upload, problem.mean_losses()  # which waits for the device

    def _store(self, plan: RoundPlan, positions: Sequence[int], trained: Tensor) -> None:
        """Put what the clients upload, [vectors, n, d], where it is compressed, and where who commits it finds it."""
        for row, position in enumerate(positions):
            for kept, vector in zip(self._state.upload(plan.round.number, position), trained, strict=True):
                kept.copy_(vector[row])

    def _compress(
        self,
        compressor: DeviceCompressor,
        plan: RoundPlan,
        clients: Sequence[int],
        trained: Tensor,
        references: Sequence[np.ndarray | None],
    ) -> Uploads:
        """Return every client's upload, compressed where it lies; None for one that is not finite."""
        seed, number = self._setup.config.algorithm.seed, plan.round.number
        by_vector = []
        for position, (rows, reference) in enumerate(zip(trained, references, strict=True)):
            keys = [key(seed, Purpose.COMPRESS_UPLINK, number, client, position) for client in clients]
            by_vector.append(compressor.compress(rows, keys, reference))
        uploads: Uploads = []
        for vectors in zip(*by_vector, strict=True):
            finite = [each for each in vectors if each is not None]
            uploads.append(finite if len(finite) == len(vectors) else None)
        return uploads

    def _check_model(self) -> None:
        """Raise UserError if the model cannot run batched: tried on samples of the training set."""
        scales = torch.tensor([[1.0], [0.5]], device=self._device)
        samples = self._inputs[:2]
        with enough_memory(self._device):
            self._model.check(
                self._setup.initial.to(self._device) * scales, samples.expand(2, *samples.shape)
            )


@dataclass(frozen=True)
class _ModelCompressor:
    """C of the models of a batch, for methods that take gradients there; a model that is not finite becomes NaN."""

    batch: BatchedClients
    round: int
    clients: Sequence[int]
    reference: Tensor
    watch: Stopwatch

    def __call__(self, models: Tensor, step: int) -> Tensor:
        """Return C of every model, decompressed, [n, d] or [d] as they are."""
        setup, on_gpu = self.batch._setup, self.batch._deployed
        if setup.deployed is None:
            return models
        seed = setup.config.algorithm.seed
        keys = [key(seed, Purpose.COMPRESS_LOCAL_MODEL, self.round, client, step) for client in self.clients]
        rows, reference = models.view(len(self.clients), -1), self.reference.numpy()
        with self.watch.part("select"):
            if on_gpu is not None:
                return on_gpu.decompressed(rows, keys, reference).view(models.shape)
            return _on_host(setup.deployed, rows, keys, reference).view(models.shape)


def _on_host(compressor: Compressor, rows: Tensor, keys: Sequence[int], reference: np.ndarray) -> Tensor:
    out = torch.empty_like(rows)
    for row, stream, written in zip(rows, keys, out, strict=True):
        try:
            compressor.compress(row.numpy(), stream, reference).write_to(written.numpy())
        except NonFiniteError:
            written.fill_(torch.nan)
    return out
