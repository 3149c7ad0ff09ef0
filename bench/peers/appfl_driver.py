"""The job in APPFL 1.12.0 over MPI: its server agent, scheduler, aggregator and communicators.

With 11 ranks every member of the cohort has a rank; with fewer, a rank has several ("batched clients").
"""

# ruff: noqa: E402
import logging
from typing import Any

from fedcomloc_mpi.data import import_torchvision

import_torchvision()  # APPFL imports torchvision, which fails beside some builds of torch
from appfl.agent import ServerAgent
from appfl.comm.mpi import MPIClientCommunicator, MPIServerCommunicator
from appfl.config import ServerAgentConfig
from mpi4py import MPI
from omegaconf import OmegaConf

from bench.peers.job import COHORT, Job, RoundClock, network, train


class Server(ServerAgent):
    """APPFL's server, with this job's network, and a clock that ticks when a round has been aggregated."""

    clock = RoundClock()

    def _load_model(self) -> None:
        self.model = network()

    def global_update(self, *arguments: Any, **options: Any) -> Any:
        before = self.scheduler.get_num_global_epochs()
        result = super().global_update(*arguments, **options)
        if self.scheduler.get_num_global_epochs() > before:
            self.clock.tick()
        return result


def serve(job: Job, comm: MPI.Comm) -> None:
    """Be the server."""
    configuration = ServerAgentConfig(
        client_configs=OmegaConf.create({"train_configs": {}}),
        server_configs=OmegaConf.create(
            {
                "num_clients": COHORT,
                "num_global_epochs": job.rounds,
                "optimize_memory": False,  # else it collects garbage dozens of times a round, which takes minutes
                "scheduler": "SyncScheduler",
                "scheduler_kwargs": {"optimize_memory": False},
                "aggregator": "FedAvgAggregator",
                "aggregator_kwargs": {"client_weights_mode": "equal", "optimize_memory": False},
                "logging_output_dirname": str(job.folder / "appfl"),
            }
        ),
    )
    server = Server(configuration)
    server.logger.logger.setLevel(logging.ERROR)
    server.clock.tick()
    MPIServerCommunicator(comm, server_agent=server, logger=server.logger, optimize_memory=False).serve()
    model = network()
    model.load_state_dict(server.get_parameters(init_model=False))
    server.clock.write(job.folder, job.accuracy(model))


def take_part(job: Job, comm: MPI.Comm) -> None:
    """Train a part of every cohort."""
    ranks = comm.size - 1
    places = list(range(COHORT))[comm.rank - 1 :: ranks]
    link = MPIClientCommunicator(comm, server_rank=0, client_ids=places, optimize_memory=False)
    link.get_configuration()
    state = link.get_global_model(init_model=True)
    model = network()
    for _ in range(job.rounds):
        cohort, models = job.cohort(), {}
        for place in places:
            model.load_state_dict(state)
            train(model, job, cohort[place])
            models[place] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        state, _ = link.update_global_model(models, kwargs={place: {} for place in places})
    link.invoke_custom_action(action="close_connection")


comm = MPI.COMM_WORLD
job = Job.from_command_line()
if comm.rank == 0:
    serve(job, comm)
else:
    take_part(job, comm)
