"""The configuration: one tree of frozen dataclasses, which is also the one table of options.

To add a flag, add a field; to add a choice, add it to its field (or to METHODS or DATASETS). Flags, TOML
keys, checks, --help, --print-config and the table in docs/configuration.md follow. A configuration that
exists is valid: every dataclass checks its values when it is made.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from fedcomloc_mpi.config.coders import CODERS
from fedcomloc_mpi.config.datasets import DATASETS
from fedcomloc_mpi.config.methods import COMPRESSORS, METHODS
from fedcomloc_mpi.config.options import Interval, Option, Value, option, options_of
from fedcomloc_mpi.errors import UserError

_FRACTION = (Interval(0, 1, above=True),)
_COUNT = (Interval(1, 2**31 - 1),)
_COUNT_OR_ZERO = (Interval(0, 2**31 - 1),)
_BITS = (Interval(1, 16), Interval(32, 32))
_SWITCH = ("on", "off")


class _Group:
    """Checks the fields of a group of options. Raises UserError."""

    def __post_init__(self) -> None:
        for each in options_of(type(self)):
            object.__setattr__(self, each.name, each.check(getattr(self, each.name), each.name))


@dataclass(frozen=True, kw_only=True)
class AlgorithmConfig(_Group):
    """What is computed: the algorithm, its steps and its length."""

    algorithm: str = option("fedcomloc-com", choices=METHODS, metavar="NAME", help="the training algorithm")
    p: float = option(
        0.1,
        bounds=(Interval(1e-6, 1),),
        metavar="P",
        help="probability of communicating after a local step: a round has 1/P local steps on average",
        also=("probability", "prob"),
    )
    local_steps: str = option(
        "geometric",
        choices=("geometric", "fixed"),
        metavar="HOW",
        help="local steps of a round: drawn from Geometric(P), or always round(1/P)",
    )
    lr: float = option(
        by_dataset=True,
        bounds=(Interval(0, above=True),),
        metavar="G",
        help="step size of the local steps",
        also=("learning_rate", "stepsize", "step_size", "gamma", "eta"),
    )
    lr_schedule: str = option(
        "constant",
        choices=("constant", "step", "cosine"),
        metavar="HOW",
        help="step size over the rounds: always G, or times F after every N rounds, or from G down to F times G along "
        "a cosine of N rounds",
        also=("schedule", "scheduler", "lr_scheduler"),
    )
    lr_decay_rounds: int | None = option(
        None,
        bounds=_COUNT,
        metavar="N",
        help="rounds of a step or a cosine of the schedule",
        unset="the schedule must be constant",
    )
    lr_decay_factor: float = option(
        0.1,
        bounds=_FRACTION,
        metavar="F",
        help="what the schedule multiplies the step size by: after every step, or at the end of the cosine",
        also=("lr_gamma", "lr_decay"),
    )
    server_step: float = option(
        1.0,
        bounds=(Interval(0, 10, above=True),),
        metavar="ETA",
        help="how far the model moves in a round: ETA times from where it was to the mean of the clients' models",
        also=("server_lr", "global_lr", "global_step"),
    )
    weighting: str = option(
        "plain",
        choices=("plain", "samples"),
        metavar="HOW",
        help="the mean over the cohort: every client alike, or by its number of samples",
    )
    weight_decay: float = option(
        0.0,
        bounds=(Interval(0),),
        metavar="W",
        help="adds W/2 times the squared norm of the model to every client's loss (train_loss leaves it out)",
        also=("l2", "regularization"),
    )
    clip_norm: float | None = option(
        None,
        bounds=(Interval(0, above=True),),
        metavar="C",
        help="shorten minibatch gradients, before weight decay, to at most this Euclidean norm",
        unset="gradients are used as they are",
        also=("max_grad_norm", "clip"),
    )
    feddyn_alpha: float = option(
        0.1,
        bounds=(Interval(0, above=True),),
        metavar="A",
        help="weight of feddyn's quadratic term, which holds local models near the server's",
    )
    batch_size: int = option(
        by_dataset=True,
        bounds=_COUNT_OR_ZERO,
        metavar="B",
        help="samples of a local step, drawn afresh each time; 0: all samples of the client",
    )
    rounds: int = option(
        by_dataset=True,
        bounds=_COUNT,
        metavar="R",
        help="rounds of communication",
        may_change=True,
        also=("num_rounds", "iterations"),
    )
    target_accuracy: float | None = option(
        None,
        bounds=_FRACTION,
        metavar="F",
        help="stop as soon as an evaluation reaches this test accuracy",
        unset="all rounds are run",
    )
    seed: int = option(
        0,
        bounds=(Interval(0, 2**63 - 1),),
        metavar="S",
        help="decides every random draw: model, partition, cohorts, local steps, minibatches, rounding",
    )


@dataclass(frozen=True, kw_only=True)
class CompressionConfig(_Group):
    """What is lost of a model on the way, and how the rest is coded."""

    compressor: str = option(
        "topk",
        choices=COMPRESSORS,
        neutral="topk",
        metavar="NAME",
        help="what compresses where the density is below 1 or the bits below 32; topk: TopK, then quantization",
    )
    density: float = option(
        0.1,
        bounds=_FRACTION,
        neutral=1.0,
        metavar="F",
        help="fraction of the model's entries that TopK keeps; 1: all",
        also=("sparsity", "topk", "top_k", "ratio"),
    )
    bits: int = option(
        32,
        bounds=_BITS,
        neutral=32,
        metavar="R",
        help="bits of a quantized magnitude; 32: no quantization",
        also=("quantization", "quantize"),
    )
    quant_norm: str = option(
        "max",
        choices=("max", "l2"),
        neutral="max",
        metavar="NORM",
        help="scale of a quantized layer: its largest magnitude, or its Euclidean norm (noisy at few bits)",
    )
    lattice: str = option(
        "own",
        choices=("own", "shared"),
        neutral="own",
        metavar="WHICH",
        help="where the scales of quantization come from: own, the quantized model itself; shared, the last broadcast, "
        "so that a mean of quantized models travels as levels too",
    )
    objective: str = option(
        "bytes",
        choices=("bytes", "time"),
        metavar="WHAT",
        help="what the choice among coders makes small: each message; or, measured once at the start, the time to code "
        "it and to send it at --bandwidth",
    )
    bandwidth: float = option(
        125.0,
        bounds=(Interval(0, 1e9, above=True),),
        metavar="MB",
        help="megabytes per second of a rank's link, for --objective time",
    )
    coders: str | None = option(
        None,
        choices=CODERS,
        several=True,
        metavar="NAMES",
        help="the coders that compete beside those that can write anything",
        unset="all that every rank has, or what --objective time finds",
    )
    reference: str = option(
        "on",
        choices=_SWITCH,
        metavar="on|off",
        help="code messages against the last broadcast model, which both ends hold; sets both directions",
    )
    uplink_density: float = option(
        follows="density",
        direction="uplink",
        neutral=1.0,
        bounds=_FRACTION,
        metavar="F",
        help="density of what clients send",
    )
    uplink_bits: int = option(
        follows="bits",
        direction="uplink",
        neutral=32,
        bounds=_BITS,
        metavar="R",
        help="bits of what clients send",
    )
    uplink_reference: str = option(
        follows="reference",
        direction="uplink",
        choices=_SWITCH,
        metavar="on|off",
        help="reference for what clients send",
    )
    downlink_density: float = option(
        follows="density",
        direction="downlink",
        neutral=1.0,
        bounds=_FRACTION,
        metavar="F",
        help="density of what the server sends",
    )
    downlink_bits: int = option(
        follows="bits",
        direction="downlink",
        neutral=32,
        bounds=_BITS,
        metavar="R",
        help="bits of what the server sends",
    )
    downlink_reference: str = option(
        follows="reference",
        direction="downlink",
        choices=_SWITCH,
        metavar="on|off",
        help="reference for what the server sends",
    )


@dataclass(frozen=True, kw_only=True)
class DataConfig(_Group):
    """The data set, the model that is trained on it, and how the samples are spread over the clients."""

    dataset: str = option(
        "digits",
        choices=DATASETS,
        metavar="NAME",
        help="the data set; it decides other defaults; own: one that is passed to fedcomloc_mpi.run",
    )
    data_dir: str | None = option(
        None,
        metavar="DIR",
        help="folder that holds the data set's files; nothing is written there unless --download is given",
        unset="none (digits and synthetic need none)",
        may_change=True,
    )
    download: bool = option(
        False, may_change=True, help="fetch missing files of the data set into the data folder"
    )
    model: str = option(
        by_dataset=True,
        choices=("mlp", "cnn", "logistic", "own"),
        metavar="NAME",
        help="the network; own: a module that is passed to fedcomloc_mpi.run",
        also=("net", "network", "architecture"),
    )
    initial: str | None = option(
        None, metavar="FILE", help="state_dict to start from", unset="a fresh model, drawn from the seed"
    )
    clients: int = option(
        by_dataset=True, bounds=_COUNT, metavar="N", help="number of clients, on any number of ranks"
    )
    cohort: int = option(
        by_dataset=True,
        bounds=_COUNT,
        metavar="M",
        help="clients that take part in a round, at most N; at least 2 for algorithms with control variates",
        also=("participants", "clients_per_round", "sample_size"),
    )
    partition: str = option(
        "dirichlet",
        choices=("dirichlet", "iid", "shards"),
        metavar="HOW",
        help="how the samples are spread over the clients: skewed by Dirichlet(A), evenly, or by shards",
    )
    alpha: float = option(
        0.7,
        bounds=(Interval(0, 1e6, above=True),),
        metavar="A",
        help="concentration of the dirichlet partition; the smaller, the fewer labels a client has",
        also=("concentration", "dirichlet_alpha"),
    )
    min_samples: int = option(
        10,
        bounds=_COUNT_OR_ZERO,
        metavar="N",
        help="fewest samples of a client in the dirichlet partition, at most an equal share",
    )
    shards_per_client: int = option(
        2, bounds=_COUNT, metavar="N", help="shards of a client in the shards partition"
    )


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig(_Group):
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
        bounds=_COUNT,
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
        10, bounds=_COUNT, metavar="N", help="evaluate every N rounds; the last round is always evaluated"
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
        bounds=_COUNT_OR_ZERO,
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


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that a run is told, resolved. Raises UserError when its values do not go together.

    Made by `load_config` (command line) or `make_config` (Python), which fill in what is not given.
    """

    algorithm: AlgorithmConfig
    compression: CompressionConfig
    data: DataConfig
    runtime: RuntimeConfig

    def __post_init__(self) -> None:
        check_combination(to_flat(self), str)


GROUPS: dict[str, tuple[Option, ...]] = {
    "algorithm": options_of(AlgorithmConfig),
    "compression": options_of(CompressionConfig),
    "data": options_of(DataConfig),
    "runtime": options_of(RuntimeConfig),
}
"""The options by group; keys are the fields of Config."""

OPTIONS: dict[str, Option] = {each.name: each for options in GROUPS.values() for each in options}
"""Every option by name, in the order of the tree."""


def to_flat(config: Config) -> dict[str, Value]:
    """Return every option's value by name, in the order of the tree; options that are not set are None."""
    groups = (getattr(config, field.name) for field in fields(config))
    return {field.name: getattr(group, field.name) for group in groups for field in fields(group)}


def from_flat(values: Mapping[str, Value]) -> Config:
    """Return the Config that has these values, one for each option. Raises UserError."""
    groups: dict[str, dict[str, Any]] = {
        group: {each.name: values[each.name] for each in options} for group, options in GROUPS.items()
    }
    return Config(
        algorithm=AlgorithmConfig(**groups["algorithm"]),
        compression=CompressionConfig(**groups["compression"]),
        data=DataConfig(**groups["data"]),
        runtime=RuntimeConfig(**groups["runtime"]),
    )


def check_combination(values: Mapping[str, Value], where: Callable[[str], str]) -> None:
    """Check what single options cannot know: values that exclude one another.

    `values` has one checked value for each option; `where(name)` names an option in messages. Raises
    UserError.
    """
    algorithm, clients, cohort = str(values["algorithm"]), values["clients"], values["cohort"]
    schedule = values["lr_schedule"]
    assert isinstance(clients, int)
    assert isinstance(cohort, int)
    method = METHODS[algorithm]
    if cohort > clients:
        raise UserError(
            f"{where('cohort')} is {cohort}: it must be at most {where('clients')}, which is {clients}"
        )
    if method.uses_control_variates and cohort < 2:
        raise UserError(
            f"{where('cohort')} is {cohort}: it must be 2 or more, because {algorithm} uses control variates, which "
            "follow the mean of several clients"
        )
    if schedule != "constant" and values["lr_decay_rounds"] is None:
        raise UserError(
            f"{where('lr_schedule')} is {schedule}: it needs --lr-decay-rounds, the rounds of a {schedule}"
        )
    if method.takes_compression:
        _check_lattice(values, where)
        return
    takers = ", ".join(name for name, other in METHODS.items() if other.takes_compression)
    for each in OPTIONS.values():
        if each.neutral is not None and values[each.name] != each.neutral:
            raise UserError(
                f"{where(each.name)} is {values[each.name]}: {algorithm} sends uncompressed float32 and accepts "
                f"only {each.neutral} here; compression is for --algorithm {takers}"
            )


def _check_lattice(values: Mapping[str, Value], where: Callable[[str], str]) -> None:
    """Raise UserError for a shared lattice without quantization, without a reference, or with other scales."""
    if values["lattice"] != "shared":
        return
    quantized = [direction for direction in ("uplink", "downlink") if values[f"{direction}_bits"] != 32]
    if not quantized and values["bits"] == 32:
        raise UserError(
            f"{where('lattice')} is shared, but nothing is quantized: give --bits 1 to 16, or --lattice own"
        )
    if values["quant_norm"] != "max":
        raise UserError(
            f"{where('lattice')} is shared: {where('quant_norm')} must then be max, not {values['quant_norm']}"
        )
    for direction in quantized:
        if values[f"{direction}_reference"] != "on":
            raise UserError(
                f"{where('lattice')} is shared: its steps come from the last broadcast, so "
                f"{where(f'{direction}_reference')} must be on"
            )
