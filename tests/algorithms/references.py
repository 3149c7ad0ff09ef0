"""The methods once more, each in a few lines of numpy, from their papers; nothing here is from fedcomloc_mpi.

Every function plays the rounds of `plan`, a list of (local steps, cohort), from the model `x`, and returns the model
after every round. gradients: one function a client; gamma: the stepsize, a number or a function of the round's number
from 1; eta: the server step; weights: of the clients in the mean (default: plain).
"""

from collections.abc import Callable, Sequence

import numpy as np

Vector = np.ndarray
Gradient = Callable[[Vector], Vector]
Plan = Sequence[tuple[int, Sequence[int]]]
Stepsize = float | Callable[[int], float]


def topk(fraction: float) -> Callable[[Vector], Vector]:
    """Keep ceil(fraction * d) entries of largest magnitude, of equal ones those of lower index."""

    def compress(x: Vector) -> Vector:
        kept = sorted(range(x.size), key=lambda entry: (-abs(x[entry]), entry))[
            : -int(-fraction * x.size // 1)
        ]
        result = np.zeros_like(x)
        result[kept] = x[kept]
        return result

    return compress


def mean_of(vectors: dict[int, Vector], weights: Sequence[float] | None) -> Vector:
    w = {i: 1.0 if weights is None else weights[i] for i in vectors}
    total = np.zeros_like(next(iter(vectors.values())))
    for i, v in vectors.items():
        total = total + w[i] * v
    return total / sum(w.values())


def fedcomloc(
    gradients: Sequence[Gradient],
    x: Vector,
    plan: Plan,
    gamma: Stepsize,
    p: float,
    *,
    com: Callable[[Vector], Vector] = lambda v: v,
    local: Callable[[Vector], Vector] = lambda v: v,
    global_: Callable[[Vector], Vector] = lambda v: v,
    eta: float = 1.0,
    weights: Sequence[float] | None = None,
) -> list[Vector]:
    """All three variants; without compressors it is Scaffnew."""
    h, history = [np.zeros_like(x) for _ in gradients], []
    for number, (steps, cohort) in enumerate(plan, start=1):
        step = gamma(number) if callable(gamma) else gamma
        hat = {}
        for i in cohort:
            x_i = x
            for _ in range(steps):
                x_i = x_i - step * (gradients[i](local(x_i)) - h[i])
            hat[i] = com(x_i)
        middle = global_(mean_of(hat, weights))
        for i in cohort:
            h[i] = h[i] + p / step * (middle - hat[i])
        x = x + eta * (middle - x)
        history.append(x)
    return history


def fedavg(
    gradients: Sequence[Gradient],
    x: Vector,
    plan: Plan,
    gamma: Stepsize,
    *,
    com: Callable[[Vector], Vector] = lambda v: v,
    eta: float = 1.0,
    weights: Sequence[float] | None = None,
) -> list[Vector]:
    history = []
    for number, (steps, cohort) in enumerate(plan, start=1):
        step = gamma(number) if callable(gamma) else gamma
        arrived = {}
        for i in cohort:
            x_i = x
            for _ in range(steps):
                x_i = x_i - step * gradients[i](x_i)
            arrived[i] = com(x_i)
        x = x + eta * (mean_of(arrived, weights) - x)
        history.append(x)
    return history


def scaffold(
    gradients: Sequence[Gradient],
    x: Vector,
    plan: Plan,
    gamma: Stepsize,
    *,
    eta: float = 1.0,
    weights: Sequence[float] | None = None,
) -> list[Vector]:
    """Option II, as the paper's Algorithm 1 has it: differences travel."""
    n, total = len(gradients), sum(weights) if weights is not None else len(gradients)
    c, c_of, history = np.zeros_like(x), [np.zeros_like(x) for _ in gradients], []
    for number, (steps, cohort) in enumerate(plan, start=1):
        step = gamma(number) if callable(gamma) else gamma
        delta_y, delta_c = {}, {}
        for i in cohort:
            y = x
            for _ in range(steps):
                y = y - step * (gradients[i](y) - c_of[i] + c)
            new = c_of[i] - c + (x - y) / (steps * step)
            delta_y[i], delta_c[i] = y - x, new - c_of[i]
            c_of[i] = new
        share = (len(cohort) / n) if weights is None else sum(weights[i] for i in cohort) / total
        x = x + eta * mean_of(delta_y, weights)
        c = c + share * mean_of(delta_c, weights)
        history.append(x)
    return history


def feddyn(
    gradients: Sequence[Gradient],
    x: Vector,
    plan: Plan,
    gamma: Stepsize,
    alpha: float,
    *,
    eta: float = 1.0,
    weights: Sequence[float] | None = None,
) -> list[Vector]:
    n, total = len(gradients), sum(weights) if weights is not None else len(gradients)
    h, linear, history = np.zeros_like(x), [np.zeros_like(x) for _ in gradients], []
    for number, (steps, cohort) in enumerate(plan, start=1):
        step = gamma(number) if callable(gamma) else gamma
        theta = {}
        for i in cohort:
            t = x
            for _ in range(steps):
                t = t - step * (gradients[i](t) - linear[i] + alpha * (t - x))
            theta[i] = t
            linear[i] = linear[i] - alpha * (t - x)
        share = (len(cohort) / n) if weights is None else sum(weights[i] for i in cohort) / total
        h = h - alpha * share * mean_of({i: theta[i] - x for i in cohort}, weights)
        x = x + eta * (mean_of(theta, weights) - h / alpha - x)
        history.append(x)
    return history
