"""Options of the algorithm."""

from dataclasses import dataclass

from fedcomloc_mpi.config.group import COUNT, COUNT_OR_ZERO, FRACTION, Group
from fedcomloc_mpi.config.methods import METHODS
from fedcomloc_mpi.config.options import Interval, option


@dataclass(frozen=True, kw_only=True)
class AlgorithmConfig(Group):
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
        bounds=COUNT,
        metavar="N",
        help="rounds of a step or a cosine of the schedule",
        unset="the schedule must be constant",
    )
    lr_decay_factor: float = option(
        0.1,
        bounds=FRACTION,
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
        bounds=COUNT_OR_ZERO,
        metavar="B",
        help="samples of a local step, drawn afresh each time; 0: all samples of the client",
    )
    rounds: int = option(
        by_dataset=True,
        bounds=COUNT,
        metavar="R",
        help="rounds of communication",
        may_change=True,
        also=("num_rounds", "iterations"),
    )
    target_accuracy: float | None = option(
        None,
        bounds=FRACTION,
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
