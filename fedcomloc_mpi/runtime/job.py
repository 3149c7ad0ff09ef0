"""A whole job: what all ranks set up together, their round loops, and how they end."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mpi4py import MPI
from torch.nn.functional import cross_entropy

from fedcomloc_mpi.algorithms import ALGORITHMS
from fedcomloc_mpi.compressors import build as build_compressor
from fedcomloc_mpi.config import Config, method_compression, model_compression
from fedcomloc_mpi.metrics import (
    CLIENT_PARTS,
    SERVER_PARTS,
    Progress,
    Status,
    Stopwatch,
    Summary,
    check_out,
    end_table,
    startup_line,
)
from fedcomloc_mpi.models import FlatModel, load_state
from fedcomloc_mpi.runtime.client import REPORTED_PARTS, ClientRank
from fedcomloc_mpi.runtime.client_state import ClientState
from fedcomloc_mpi.runtime.coders import agree_on_coders, left_out
from fedcomloc_mpi.runtime.evaluate import Evaluator
from fedcomloc_mpi.runtime.own import OwnDataset, OwnModel, build_model, check_own
from fedcomloc_mpi.runtime.run_files import RunFiles
from fedcomloc_mpi.runtime.server import Outcome, Server
from fedcomloc_mpi.runtime.setup import Setup, client_weights
from fedcomloc_mpi.runtime.signals import SignalWatch
from fedcomloc_mpi.runtime.training_data import TrainingData, attempt, read_training_data
from fedcomloc_mpi.transport.collectives import CollectiveExchange
from fedcomloc_mpi.transport.wait import wait_all
from fedcomloc_mpi.transport.world import SERVER, World, library_version, open_world
from fedcomloc_mpi.wire import names

Clock = Callable[[], int]
_STATUSES = list(Status)


@dataclass(frozen=True)
class Ending:
    """How a job ended, alike on every rank.

    status, rounds: see Outcome; signal: the number of the signal that interrupted it, else 0. folder: where its files
    are, on the server; None on clients.
    """

    status: Status
    rounds: int
    signal: int
    folder: Path | None


def run(
    comm: MPI.Intracomm,
    config: Config,
    *,
    model: OwnModel | None = None,
    dataset: OwnDataset | None = None,
    started: float | None = None,
    clock: Clock = time.perf_counter_ns,
) -> Ending:
    """Train over all ranks of `comm`, every one of which must call this with the same configuration.

    model: for a configuration with model "own", a torch module, float32 on the CPU, that maps float32 [batch,
    *input_shape] to [batch, classes], or a function without arguments that makes one, then with parameters drawn from
    the seed. All ranks start from the parameters of rank 0's module, which holds the final model afterwards. The loss
    is cross-entropy.
    dataset: for a configuration with dataset "own", the data, or a function without arguments that makes it; only the
    lowest rank of every node uses it, and all of these must have the same.
    started: time.monotonic() when the job was started, for the start-up time; the call itself by default.
    clock: in ns, monotonic on its own rank, what all parts of time are measured with.

    Raises UserError on all ranks alike for what the user can mend; any other exception on one rank leaves the others
    waiting, so a program must then call `comm.Abort`, as `fedcomloc_mpi.train` and `python -m mpi4py` do.
    """
    started = time.monotonic() if started is None else started
    check_own(config, model, dataset)
    world = open_world(comm)
    torch.set_num_threads(config.runtime.threads)
    with SignalWatch() as signals:
        attempt(world, (lambda: check_out(config.runtime.out)) if world.is_server else None)
        data = read_training_data(world, config.data, config.algorithm.seed, dataset)
        setup = _set_up(world, config, data, model)
        state = ClientState(
            world.node,
            config.data.clients,
            setup.algorithm.control_vectors,
            setup.layout.size,
            config.data.cohort,
            setup.algorithm.uplink_vectors,
        )
        exchange = CollectiveExchange(
            world, len(REPORTED_PARTS), setup.algorithm.uplink_vectors, setup.algorithm.downlink_vectors
        )
        if world.is_server:
            return _serve(setup, data, state, exchange, signals, started, clock)
        return _participate(setup, data, state, exchange, signals, clock)


def _set_up(world: World, config: Config, data: TrainingData, own: OwnModel | None) -> Setup:
    model = build_model(world, config, data, own)
    directions, deployed = method_compression(config), model_compression(config)
    uplink, downlink = (build_compressor(direction, model.layout) for direction in directions)
    initial = _initial_vector(world, config, model)
    coders, config = agree_on_coders(world, config, uplink, downlink, initial.numpy(), model.layout)
    return Setup(
        config=config,
        world=world,
        algorithm=ALGORITHMS[config.algorithm.algorithm].configured(config.algorithm),
        model=model,
        loss=cross_entropy,
        uplink=uplink,
        downlink=downlink,
        deployed=build_compressor(deployed, model.layout) if deployed else None,
        initial=initial,
        weights=client_weights(config, data),
        coders=coders,
    )


def _initial_vector(world: World, config: Config, model: FlatModel) -> torch.Tensor:
    """Return x_0: what the seed drew on every rank, or the user's file, read by the server and broadcast."""
    vector = model.vector.clone()
    path = config.data.initial
    if path is None:
        return vector
    attempt(
        world,
        (lambda: vector.copy_(model.vector_from_state(load_state(path), path))) if world.is_server else None,
    )
    wait_all([world.comm.Ibcast(vector.numpy(), root=SERVER)])
    return vector


def _serve(
    setup: Setup,
    data: TrainingData,
    state: ClientState,
    exchange: CollectiveExchange,
    signals: SignalWatch,
    started: float,
    clock: Clock,
) -> Ending:
    config, world = setup.config, setup.world
    files: list[RunFiles] = []
    attempt(world, lambda: files.append(RunFiles(setup, data)))
    (written,) = files
    title = f"{config.algorithm.algorithm} on {config.data.dataset}"
    assert data.test_inputs is not None
    assert data.test_labels is not None
    evaluate = Evaluator(
        setup.model, setup.loss, torch.from_numpy(data.test_inputs), torch.from_numpy(data.test_labels)
    )
    summary = Summary(setup.layout.size, config.algorithm.target_accuracy)
    with written.open_rounds() as writer, Progress(config.algorithm.rounds) as progress:
        progress.say(
            startup_line(
                title=title,
                ranks=world.size,
                clients=config.data.clients,
                cohort=config.data.cohort,
                threads=config.runtime.threads,
                mpi_library=library_version(),
                coders=names(setup.coders),
                coders_left_out=left_out(setup.coders),
                hosts=len(set(world.hosts)),
            )
        )
        world.barrier()
        summary.startup_seconds = time.monotonic() - started
        watch = Stopwatch(SERVER_PARTS, clock)
        server = Server(setup, exchange, evaluate, writer, progress, summary, watch, signals)
        outcome = server.run()
    setup.model.bind(
        server.model
    )  # evaluation has left another vector in the module, which may be the user's
    ending = _end(setup, state, exchange, outcome, written.folder)
    if ending.status in (Status.FINISHED, Status.TARGET):
        written.write_model("final.pt", server.model)
        deployed = server.deployed_model()
        if deployed is not None:
            written.write_model("final_compressed.pt", deployed)
    figures = summary.to_dict(ending.status, outcome.reason or None)
    written.write_summary(figures | {"control_sum": _control_sum(setup, state, outcome.rounds)})
    print(f"\n{end_table(figures, title)}\nfiles: {written.folder}", flush=True)
    return ending


def _participate(
    setup: Setup,
    data: TrainingData,
    state: ClientState,
    exchange: CollectiveExchange,
    signals: SignalWatch,
    clock: Clock,
) -> Ending:
    attempt(setup.world, None)
    inputs, labels = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)
    setup.world.barrier()
    watch = Stopwatch(CLIENT_PARTS, clock)
    ClientRank(setup, exchange, state, inputs, labels, data.partition, watch, signals).run()
    ending = _end(setup, state, exchange, None, None)
    _control_sum(setup, state, ending.rounds)
    return ending


def _end(
    setup: Setup,
    state: ClientState,
    exchange: CollectiveExchange,
    outcome: Outcome | None,
    folder: Path | None,
) -> Ending:
    """Agree on how the job ended, and on the bytes that travelled; all ranks call this."""
    words = np.zeros(3, dtype=np.int64)
    if outcome is not None:
        words[:] = _STATUSES.index(outcome.status), outcome.rounds, outcome.signal
    wait_all([setup.world.comm.Ibcast(words, root=SERVER)])
    exchange.meter.check(setup.world)
    return Ending(_STATUSES[int(words[0])], int(words[1]), int(words[2]), folder)


def _control_sum(setup: Setup, state: ClientState, rounds: int) -> dict[str, float] | None:
    """Add up the control variates of all clients as they stand in memory, weighted as in the mean; all ranks call this.

    Returns, on the server, the Euclidean norm and the largest magnitude of the sum; None on clients and for methods
    without control variates.
    """
    vectors, world = setup.algorithm.control_vectors, setup.world
    if not vectors:
        return None
    taken_part = np.unique([setup.plan(number).cohort for number in range(1, rounds + 1)]).astype(np.int64)
    home = np.array(
        [world.node_of[1 + client % (world.size - 1)] for client in taken_part.tolist()], dtype=np.int64
    )
    here = taken_part[home == world.node_of[world.rank]] if world.leads_node else taken_part[:0]
    mine = np.zeros((vectors, setup.layout.size))
    state.add_to(mine, here, setup.weights)
    total = np.zeros_like(mine)
    wait_all([world.comm.Ireduce(mine, total, op=MPI.SUM, root=SERVER)])
    if not world.is_server:
        return None
    return {"norm": float(np.linalg.norm(total)), "largest_entry": float(np.abs(total).max(initial=0.0))}
