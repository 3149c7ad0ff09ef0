"""Options of the job itself."""

from dataclasses import dataclass

from fedcomloc_mpi.config.group import COUNT, COUNT_OR_ZERO, Group
from fedcomloc_mpi.config.options import Interval, option


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig(Group):
    """How the job runs and what it leaves behind."""

    device: str = option(
        "auto",
        choices=("auto", "cpu", "cuda"),
        metavar="WHERE",
        help="where models are trained; auto: on a GPU wherever torch sees one, else on the CPU",
        also=("gpu",),
    )
    client_batch: int | None = option(
        None,
        bounds=COUNT,
        metavar="N",
        help="clients of a rank that are trained at once, as one batch of models; 1: one after the other",
        unset="1 on the CPU, on a GPU all that the rank has in a round",
    )
    deterministic: bool = option(
        False,
        help="on GPUs and with a client batch, repeat what can be repeated: deterministic algorithms of torch, and "
        "clients spread over the ranks without regard to their speed",
    )
    threads: int = option(
        1,
        bounds=(Interval(1, 1024),),
        metavar="N",
        help="torch threads of a rank; part of a run's identity, for results depend on it in the last bits",
    )
    exchange: str = option(
        "collectives",
        choices=("collectives", "p2p"),
        metavar="HOW",
        help="how models travel between the ranks: by MPI collectives, or by messages between the server and each rank",
        may_change=True,
    )
    eval_every: int = option(
        10, bounds=COUNT, metavar="N", help="evaluate every N rounds; the last round is always evaluated"
    )
    out: str | None = option(
        None,
        metavar="DIR",
        help="folder for results; refused if it holds another run",
        unset="runs/<UTC time>-<dataset>-<algorithm>, always fresh",
        saved=False,
        also=("output", "output_dir", "logdir"),
    )
    checkpoint_every: int = option(
        50,
        bounds=COUNT_OR_ZERO,
        metavar="N",
        help="write a checkpoint every N rounds, beside the one at the end; 0: only that one",
        may_change=True,
        also=("save_every", "checkpoint_interval"),
    )
    keep_checkpoints: int = option(
        3,
        bounds=(Interval(1, 10**6),),
        metavar="N",
        help="checkpoints to keep, and one more if a single damaged file could spoil them all",
        may_change=True,
    )
    resume: str | None = option(
        None,
        metavar="DIR",
        help="go on with the run in this folder after its last good checkpoint, with its settings",
        unset="a new run is started",
        saved=False,
        also=("restart", "from_checkpoint"),
    )
    allow_config_change: bool = option(
        False,
        saved=False,
        help="with --resume, accept other settings than those that leave the results as they are",
    )
    tensorboard: bool = option(
        False,
        may_change=True,
        help="write TensorBoard event files as well, to the folder tensorboard of the run's",
    )
    round_timeout: float | None = option(
        None,
        bounds=(Interval(1, 1e7),),
        metavar="S",
        help="end the job when a rank waits longer than this many seconds for another within a round",
        unset="10 times the slowest round so far, at least 300 (3600 in the first round)",
        may_change=True,
        also=("timeout",),
    )
    on_rank_loss: str = option(
        "stop",
        choices=("stop", "continue"),
        metavar="HOW",
        help="when the process of a client rank dies: end the job, or go on without it, the round in flight begun "
        "again (needs `mpirun --with-ft ulfm` of Open MPI 5)",
        may_change=True,
        also=("fault_tolerance", "ulfm"),
    )
    state_dir: str | None = option(
        None,
        metavar="DIR",
        help="folder on a local disk of each node for the clients' state, if that is larger than memory",
        unset="it is held in memory",
        may_change=True,
    )
