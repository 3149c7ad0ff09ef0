"""A whole job: what all ranks set up together, their round loops, and how they end."""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mpi4py import MPI
from torch.nn.functional import cross_entropy

from fedcomloc_mpi.algorithms import ALGORITHMS
from fedcomloc_mpi.compressors import build as build_compressor
from fedcomloc_mpi.config import Config, method_compression, model_compression
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.metrics import (
    CLIENT_PARTS,
    SERVER_PARTS,
    EventWriter,
    Progress,
    RoundWriter,
    Status,
    Stopwatch,
    Summary,
    check_out,
    end_table,
    require_tensorboard,
    startup_line,
)
from fedcomloc_mpi.models import FlatModel, load_state
from fedcomloc_mpi.runtime.batched_clients import BatchedClients, batched_clients
from fedcomloc_mpi.runtime.checkpoint.saver import NodeSaver, Saver, by_leader, gather_saved
from fedcomloc_mpi.runtime.client import REPORTED_PARTS, ClientRank
from fedcomloc_mpi.runtime.client_state import ClientState
from fedcomloc_mpi.runtime.coders import agree_on_coders, left_out
from fedcomloc_mpi.runtime.control_sum import control_sum
from fedcomloc_mpi.runtime.devices import Devices, choose_devices
from fedcomloc_mpi.runtime.evaluate import evaluator_on
from fedcomloc_mpi.runtime.lattice import refuse_lattice_without_references
from fedcomloc_mpi.runtime.own import OwnDataset, OwnModel, build_model, check_own
from fedcomloc_mpi.runtime.run_files import RunFiles
from fedcomloc_mpi.runtime.same_config import refuse_different_configurations
from fedcomloc_mpi.runtime.server import Outcome, Server
from fedcomloc_mpi.runtime.setup import Setup, client_weights
from fedcomloc_mpi.runtime.signals import SignalWatch
from fedcomloc_mpi.runtime.start import Located, Start, find_checkpoint, restore
from fedcomloc_mpi.runtime.training_data import TrainingData, attempt, read_training_data
from fedcomloc_mpi.transport.exchange import Exchange
from fedcomloc_mpi.transport.registry import EXCHANGES
from fedcomloc_mpi.transport.report import NOTHING_SAVED
from fedcomloc_mpi.transport.survival import refuse_without_ulfm
from fedcomloc_mpi.transport.wait import guarded
from fedcomloc_mpi.transport.watchdog import Watchdog, starting
from fedcomloc_mpi.transport.witness import witnessed
from fedcomloc_mpi.transport.world import World, library_version, open_world
from fedcomloc_mpi.wire import names

Clock = Callable[[], int]
_STATUSES = list(Status)
_LONGEST_PATH = 4096


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
    signals: SignalWatch | None = None,
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
    signals: what has listened for signals before; a new one by default.

    Raises UserError on all ranks alike for what the user can mend; any other exception on one rank leaves the others
    waiting, so a program must then call `comm.Abort`, as `fedcomloc_mpi.train` and `python -m mpi4py` do.
    """
    started = time.monotonic() if started is None else started
    check_own(config, model, dataset)
    lossy = config.runtime.on_rank_loss == "continue"
    if lossy:
        refuse_without_ulfm()
    with guarded(starting(comm.rank)):
        world = open_world(comm)
    torch.set_num_threads(config.runtime.threads)
    watchdog = Watchdog(world, config.runtime.round_timeout, look_for_losses=lossy)
    with (
        signals or SignalWatch() as signals,
        guarded(watchdog.start_up(limited=not config.data.download)),
        ExitStack() as later,
    ):
        refuse_different_configurations(world, config)
        later.enter_context(witnessed(world, wanted=not lossy))
        if config.runtime.resume is None:
            attempt(world, (lambda: check_out(config.runtime.out)) if world.is_server else None)
        devices = choose_devices(world, config.runtime.device, config.runtime.deterministic)
        located = find_checkpoint(world, config)
        data = read_training_data(world, config.data, config.algorithm.seed, dataset)
        setup = _set_up(world, config, data, model, located, devices)
        states: list[ClientState] = []
        attempt(world, lambda: states.append(_client_state(setup)))
        (state,) = states
        batches: list[BatchedClients | None] = []
        attempt(world, lambda: batches.append(batched_clients(setup, data, state)))
        exchange = EXCHANGES[config.runtime.exchange](
            world,
            watchdog,
            parts=len(REPORTED_PARTS),
            cohort=config.data.cohort,
            uplink_vectors=setup.algorithm.uplink_vectors,
            downlink_vectors=setup.algorithm.downlink_vectors,
            largest_message=_largest_message(setup.layout),
        )
        start = restore(setup, state, located)
        job = _Job(setup, data, state, batches[0], exchange, signals, watchdog, start, clock)
        return _serve(job, located, started) if world.is_server else _participate(job)


def _client_state(setup: Setup) -> ClientState:
    config, algorithm = setup.config, setup.algorithm
    return ClientState(
        setup.world.node,
        config.data.clients,
        algorithm.control_vectors,
        setup.layout.size,
        config.data.cohort,
        algorithm.uplink_vectors,
        config.runtime.state_dir,
        journal=config.runtime.on_rank_loss == "continue",
    )


@dataclass(frozen=True)
class _Job:
    """What a rank's part of the job works with."""

    setup: Setup
    data: TrainingData
    state: ClientState
    batches: BatchedClients | None
    exchange: Exchange
    signals: SignalWatch
    watchdog: Watchdog
    start: Start
    clock: Clock


def _largest_message(layout: Layout) -> int:
    """Return a number of bytes that no encoded vector exceeds: escaped levels, a bitmap, and headers to spare."""
    return 9 * layout.size + 16 * len(layout.sizes) + (1 << 16)


def _set_up(
    world: World,
    config: Config,
    data: TrainingData,
    own: OwnModel | None,
    located: Located,
    devices: Devices,
) -> Setup:
    model = build_model(world, config, data, own)
    directions, deployed = method_compression(config), model_compression(config)
    uplink, downlink = (build_compressor(direction, model.layout) for direction in directions)
    algorithm = ALGORITHMS[config.algorithm.algorithm].configured(config.algorithm)
    refuse_lattice_without_references(config, algorithm)
    initial = _initial_vector(world, config, model, located)
    coders, config = agree_on_coders(
        world, config, uplink, downlink, initial.numpy(), model.layout, located.coders
    )
    return Setup(
        config=config,
        world=world,
        algorithm=algorithm,
        model=model,
        loss=cross_entropy,
        uplink=uplink,
        downlink=downlink,
        deployed=build_compressor(deployed, model.layout) if deployed else None,
        initial=initial,
        weights=client_weights(config, data),
        samples=np.array([len(positions) for positions in data.partition], dtype=np.int64),
        coders=coders,
        devices=devices,
    )


def _initial_vector(world: World, config: Config, model: FlatModel, located: Located) -> torch.Tensor:
    """Return x_0: what the seed drew on every rank, or the user's file, read by the server and broadcast.

    A run that goes on from a checkpoint does not need it.
    """
    vector = model.vector.clone()
    path = config.data.initial
    if path is None or located.round is not None:
        return vector
    attempt(
        world,
        (lambda: vector.copy_(model.vector_from_state(load_state(path), path))) if world.is_server else None,
    )
    world.broadcast(vector.numpy())
    return vector


def _serve(job: _Job, located: Located, started: float) -> Ending:
    files: list[RunFiles] = []

    def open_files() -> None:
        if job.setup.config.runtime.tensorboard:
            require_tensorboard()
        files.append(RunFiles(job.setup, job.data, located))

    attempt(job.setup.world, open_files)
    with closing(files[0]) as written:
        return _lead(job, located, written, started)


def _lead(job: _Job, located: Located, written: RunFiles, started: float) -> Ending:
    """Run the server's rounds, from where the run stands until its end."""
    setup, data, start = job.setup, job.data, job.start
    config, world = setup.config, setup.world
    assert data.test_inputs is not None
    assert data.test_labels is not None
    evaluate = evaluator_on(
        setup.devices.mine,
        setup.model,
        setup.loss,
        torch.from_numpy(data.test_inputs),
        torch.from_numpy(data.test_labels),
    )
    summary = Summary(setup.layout.size, config.algorithm.target_accuracy)
    for record in written.read_rounds():
        summary.add(record)
    saver = Saver(written.checkpoints, setup, job.state, written.rounds, start.held)
    over = summary.target_reached or start.round >= config.algorithm.rounds
    _tell(world, over, written.checkpoints)
    with ExitStack() as stack:
        writers: list[RoundWriter | EventWriter] = [stack.enter_context(written.open_rounds())]
        if config.runtime.tensorboard:
            writers.append(stack.enter_context(written.open_events(start.round + 1)))
        progress = stack.enter_context(Progress(config.algorithm.rounds, start.round + 1))
        _announce(progress, setup, located)
        summary.startup_seconds = time.monotonic() - started
        server = Server(
            setup,
            job.exchange,
            evaluate,
            writers,
            progress,
            summary,
            Stopwatch(SERVER_PARTS, job.clock),
            job.signals,
            job.watchdog,
            saver,
            start,
            written.add_lost,
        )
        if located.round is None:
            saver.save_start(server.state)
        if over:
            status = Status.TARGET if summary.target_reached else Status.FINISHED
            outcome = Outcome(status, start.round)
        else:
            outcome = server.run()
    while True:
        try:
            with guarded(job.watchdog.wait):
                saver.publish(by_leader(world, gather_saved(world, NOTHING_SAVED)))
                ending = _end(setup, job.exchange, outcome, written.folder)
                control = control_sum(setup, job.state, start, outcome.rounds)
                server.leave()
            break
        except MPI.Exception as error:
            server.outlive(error)
    summary.lost_ranks += [{"rank": lost.rank, "round": outcome.rounds} for lost in server.lost]
    if ending.status is Status.INTERRUPTED:
        # For the summary only: the records are to be those of a run that was never interrupted.
        figures = server.evaluate_models()
        summary.add_evaluation(
            outcome.rounds, figures["test_accuracy"], figures.get("test_accuracy_compressed")
        )
    # Evaluation has left another vector in the module, which may be the user's.
    setup.model.bind(server.model)
    if ending.status in (Status.FINISHED, Status.TARGET):
        written.write_model("final.pt", server.model)
        deployed = server.deployed_model()
        if deployed is not None:
            written.write_model("final_compressed.pt", deployed)
    totals = summary.to_dict(ending.status, outcome.reason or None)
    written.write_summary(totals | {"control_sum": control})
    print(f"\n{end_table(totals, _title(config))}\nfiles: {written.folder}", flush=True)
    return ending


def _title(config: Config) -> str:
    return f"{config.algorithm.algorithm} on {config.data.dataset}"


def _announce(progress: Progress, setup: Setup, located: Located) -> None:
    """Say what starts, and from where."""
    config, world = setup.config, setup.world
    for line in [] if located.found is None else located.found.refused:
        progress.say(line)
    if located.round is not None:
        progress.say(f"resuming {config.runtime.resume} after round {located.round}")
    progress.say(
        startup_line(
            title=_title(config),
            ranks=world.size,
            clients=config.data.clients,
            cohort=config.data.cohort,
            threads=config.runtime.threads,
            mpi_library=library_version(),
            coders=names(setup.coders),
            coders_left_out=left_out(setup.coders),
            hosts=len(set(world.hosts)),
            ranks_on_gpus=setup.devices.gpu_ranks,
        )
    )


def _participate(job: _Job) -> Ending:
    setup, data = job.setup, job.data
    attempt(setup.world, None)
    inputs, labels = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)
    over, folder = _tell(setup.world, False, None)
    client = ClientRank(
        setup,
        job.exchange,
        job.state,
        inputs,
        labels,
        data.partition,
        Stopwatch(CLIENT_PARTS, job.clock),
        job.signals,
        job.watchdog,
        NodeSaver(folder, setup, job.state, job.start.held),
        job.start,
        job.batches,
    )
    if not over:
        client.run()
    while True:
        try:
            with guarded(job.watchdog.wait):
                gather_saved(setup.world, client.saved)
                ending = _end(setup, job.exchange, None, None)
                control_sum(setup, job.state, job.start, ending.rounds)
                client.leave()
            return ending
        except MPI.Exception as error:
            client.outlive(error)


def _tell(world: World, over: bool, checkpoints: Path | None) -> tuple[bool, Path]:
    """Tell all ranks whether nothing is left to do, and where checkpoints go; all ranks call this.

    Only the server's arguments count.
    """
    message = np.zeros(1 + _LONGEST_PATH, dtype=np.uint8)
    if checkpoints is not None:
        path = os.fsencode(checkpoints.absolute())
        message[0] = over
        message[1 : 1 + len(path)] = np.frombuffer(path, dtype=np.uint8)
    world.broadcast(message)
    return bool(message[0]), Path(os.fsdecode(message[1:].tobytes().rstrip(b"\0")))


def _end(setup: Setup, exchange: Exchange, outcome: Outcome | None, folder: Path | None) -> Ending:
    """Agree on how the job ended, and on the bytes that travelled; all ranks call this."""
    words = np.zeros(3, dtype=np.int64)
    if outcome is not None:
        words[:] = _STATUSES.index(outcome.status), outcome.rounds, outcome.signal
    setup.world.broadcast(words)
    exchange.meter.check(setup.world)
    return Ending(_STATUSES[int(words[0])], int(words[1]), int(words[2]), folder)
