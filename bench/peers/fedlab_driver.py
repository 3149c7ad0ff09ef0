"""The job in FedLab 1.3.0 (scale mode): a server, and ranks with an equal part of the clients each, over gloo.

torchrun starts the processes and says which rank each is; the last argument is a free port, as FedLab makes its own
connections.
"""

# ruff: noqa: E402
import logging
import os
import sys

import torch

from fedcomloc_mpi.data import import_torchvision

import_torchvision()  # FedLab imports torchvision, which fails beside some builds of torch
from fedlab.contrib.algorithm.basic_client import SGDSerialClientTrainer
from fedlab.contrib.algorithm.basic_server import SyncServerHandler
from fedlab.core.client.manager import PassiveClientManager
from fedlab.core.network import DistNetwork
from fedlab.core.server.manager import SynchronousServerManager
from fedlab.utils.logger import Logger

from bench.peers.job import CLIENTS, COHORT, Job, RoundClock, network, train


class Handler(SyncServerHandler):
    """FedLab's FedAvg, with a clock that ticks at the end of a round."""

    clock = RoundClock()

    def load(self, payload: list[torch.Tensor]) -> bool:
        ended = super().load(payload)
        if ended:
            self.clock.tick()
        return ended


class Trainer(SGDSerialClientTrainer):
    """FedLab's clients, with the job's minibatches."""

    def __init__(self, job: Job, first: int, count: int, logger: Logger) -> None:
        super().__init__(network(), count, logger=logger)
        self._job, self._first = job, first

    def local_process(self, payload: list[torch.Tensor], id_list: list[int]) -> None:
        for client in id_list:
            self.set_model(payload[0])
            train(self._model, self._job, self._first + client)
            self.cache.append([self.model_parameters])


job = Job.from_command_line()
rank, size, port = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), sys.argv[3]
os.environ.pop("TORCHELASTIC_USE_AGENT_STORE", None)  # torchrun keeps no store at FedLab's port
logger = Logger()
logging.disable(logging.INFO)
connection = DistNetwork(("127.0.0.1", port), size, rank)
if rank == 0:
    handler = Handler(network(), job.rounds, COHORT / CLIENTS, logger=logger)
    handler.num_clients = CLIENTS
    handler.clock.tick()
    SynchronousServerManager(connection, handler, logger=logger).run()
    handler.clock.write(job.folder, job.accuracy(handler.model))
else:
    firsts = [CLIENTS * part // (size - 1) for part in range(size)]
    trainer = Trainer(job, firsts[rank - 1], firsts[rank] - firsts[rank - 1], logger)
    PassiveClientManager(connection, trainer, logger=logger).run()
