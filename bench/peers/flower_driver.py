"""The job in Flower 1.42.0: its simulation, a server and clients that run in Ray's worker processes.

The first argument of the command line is the folder, the second the rounds, the third the number of workers.
"""

import os
import sys
from functools import cache

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from bench.peers.job import CLIENTS, COHORT, Job, RoundClock, network, train

client_app, server_app = ClientApp(), ServerApp()


@cache
def the_job() -> Job:
    """Return the job, read once in every process; Ray's workers know the command line from the environment only."""
    return Job(os.environ["PEERS_JOB"].split("\n"))


@client_app.train()
def train_client(message: Message, context: Context) -> Message:
    """Run a client's local steps."""
    model = network()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    train(model, the_job(), int(context.node_config["partition-id"]))
    content = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({"num-examples": 1})}
    return Message(content=RecordDict(content), reply_to=message)


@server_app.main()
def serve(grid: Grid, context: Context) -> None:
    """Run the rounds by Flower's FedAvg, with a clock that ticks at the end of each."""
    job, clock, model = the_job(), RoundClock(), network()

    def tick(round: int, arrays: ArrayRecord) -> None:
        if round == job.rounds:
            model.load_state_dict(arrays.to_torch_state_dict())
        clock.tick()

    strategy = FedAvg(fraction_train=COHORT / CLIENTS, fraction_evaluate=0.0, min_available_nodes=CLIENTS)
    strategy.start(grid, ArrayRecord(model.state_dict()), num_rounds=job.rounds, evaluate_fn=tick)
    clock.write(job.folder, job.accuracy(model))


def main(workers: int) -> None:
    """Simulate 100 clients in so many workers."""
    os.environ["PEERS_JOB"] = "\n".join(sys.argv[1:3])
    resources = {
        "init_args": {"num_cpus": workers, "include_dashboard": False, "log_to_driver": False},
        "client_resources": {"num_cpus": 1, "num_gpus": 0},
    }
    run_simulation(server_app, client_app, num_supernodes=CLIENTS, backend_config=resources)


if __name__ == "__main__":
    # So that the workers find the applications in a module, and keep what it holds.
    from bench.peers import flower_driver

    flower_driver.main(int(sys.argv[3]))
