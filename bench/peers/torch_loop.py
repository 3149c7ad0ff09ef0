"""The job as one process does it: a loop over the clients, and a mean. The least that any system takes on one core."""

import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from bench.peers.job import COHORT, Job, RoundClock, network, train

job, clock, model = Job.from_command_line(), RoundClock(), network()
server = parameters_to_vector(model.parameters()).detach().clone()
clock.tick()
for _ in range(job.rounds):
    total = torch.zeros_like(server)
    for client in job.cohort():
        vector_to_parameters(server.clone(), model.parameters())  # parameters are views of their vector
        train(model, job, client)
        total += parameters_to_vector(model.parameters()).detach()
    server = total / COHORT
    clock.tick()
vector_to_parameters(server, model.parameters())
clock.write(job.folder, job.accuracy(model))
