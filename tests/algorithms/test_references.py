"""Each algorithm against an independent few-line reference, over rounds of partial participation, in float64."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from fedcomloc_mpi.algorithms import ALGORITHMS, Algorithm, stepsize
from fedcomloc_mpi.algorithms.feddyn import FedDyn
from tests.algorithms import references
from tests.algorithms.federation import Federation, identity

CLIENTS, SIZE, COHORT, ROUNDS = 7, 12, 3, 12
Gradient = Callable[[np.ndarray], np.ndarray]


def logistic(random: np.random.Generator) -> Gradient:
    samples, signs = random.normal(size=(20, SIZE)), random.choice([-1.0, 1.0], size=20)
    return lambda x: -(samples.T @ (signs / (1 + np.exp(signs * (samples @ x))))) / 20 + 0.01 * x


def exact(x: np.ndarray) -> np.ndarray:
    return x.copy()


@dataclass
class Case:
    """An algorithm with its compressors, and what plays it: reference(gradients, x, plan, gamma, p, options...)."""

    algorithm: Callable[[], Algorithm]
    reference: Callable[..., list[np.ndarray]]
    compressors: dict[str, Any] = field(default_factory=dict)


def with_p(reference: Callable[..., list[np.ndarray]], **more: Any) -> Callable[..., list[np.ndarray]]:
    return lambda gradients, x, plan, gamma, p, **rest: reference(
        gradients, x, plan, gamma, p, **more, **rest
    )


def without_p(reference: Callable[..., list[np.ndarray]], **more: Any) -> Callable[..., list[np.ndarray]]:
    return lambda gradients, x, plan, gamma, p, **rest: reference(gradients, x, plan, gamma, **more, **rest)


THIRD, SIXTH = references.topk(1 / 3), references.topk(1 / 6)
CASES = {
    "scaffnew": Case(ALGORITHMS["scaffnew"], with_p(references.fedcomloc)),
    "fedcomloc-com": Case(
        ALGORITHMS["fedcomloc-com"], with_p(references.fedcomloc, com=THIRD), {"uplink": THIRD}
    ),
    "fedcomloc-local": Case(
        ALGORITHMS["fedcomloc-local"], with_p(references.fedcomloc, local=THIRD), {"local": THIRD}
    ),
    "fedcomloc-global": Case(
        ALGORITHMS["fedcomloc-global"], with_p(references.fedcomloc, global_=THIRD), {"downlink": THIRD}
    ),
    "com both ways": Case(
        ALGORITHMS["fedcomloc-com"],
        with_p(references.fedcomloc, com=THIRD, global_=SIXTH),
        {"uplink": THIRD, "downlink": SIXTH},
    ),
    "fedavg": Case(ALGORITHMS["fedavg"], without_p(references.fedavg)),
    "sparsefedavg": Case(
        ALGORITHMS["sparsefedavg"], without_p(references.fedavg, com=THIRD), {"uplink": THIRD}
    ),
    "scaffold": Case(ALGORITHMS["scaffold"], without_p(references.scaffold)),
    "feddyn": Case(lambda: FedDyn(0.4), without_p(references.feddyn, alpha=0.4)),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "server step": {"eta": 0.6},
    "weighted": {"weights": [0.4, 1.9, 0.7, 1.0, 1.3, 0.2, 1.5]},
    "schedule": {"gamma": lambda number: stepsize("step", 0.2, number, 3, 0.8)},
    "all three": {
        "eta": 1.4,
        "weights": [0.4, 1.9, 0.7, 1.0, 1.3, 0.2, 1.5],
        "gamma": lambda number: stepsize("cosine", 0.2, number, 8, 0.3),
    },
}


def test_every_algorithm_has_a_reference() -> None:
    assert set(ALGORITHMS) <= set(CASES)


def plan_of(random: np.random.Generator, p: float) -> list[tuple[int, list[int]]]:
    return [
        (int(random.geometric(p)), sorted(random.choice(CLIENTS, COHORT, replace=False).tolist()))
        for _ in range(ROUNDS)
    ]


@pytest.mark.parametrize("p", [1.0, 0.3])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", CASES)
def test_rounds_follow_the_reference(name: str, options: str, p: float) -> None:
    case, chosen = CASES[name], dict(OPTIONS[options])
    random = np.random.default_rng(1)
    gradients = [logistic(random) for _ in range(CLIENTS)]
    plan, initial = plan_of(random, p), np.linspace(-1, 1, SIZE)
    gamma = chosen.pop("gamma", 0.2)
    expected = case.reference(gradients, initial, plan, gamma, p, **chosen)

    algorithm = case.algorithm()
    weights = chosen.get("weights", [1.0] * CLIENTS)
    federation = Federation(algorithm, initial, weights, **case.compressors)
    for number, (steps, cohort) in enumerate(plan, start=1):
        step = gamma(number) if callable(gamma) else gamma
        numbers = federation.numbers(cohort, steps, step, p, chosen.get("eta", 1.0), number)
        federation.round(numbers, cohort, gradients.__getitem__)
        np.testing.assert_allclose(federation.model, expected[number - 1], rtol=1e-11, atol=1e-12)
        assert np.abs(federation.model).max() < 10, "the reference diverges: it shows nothing"

    # The sum that the server keeps is the weighted sum of what the clients keep; where nothing is lost on the way
    # down, and the control variates are Scaffnew's, it is conserved.
    if algorithm.control_vectors:
        total = (torch.tensor(weights, dtype=torch.float64)[:, None, None] * federation.control).sum(
            dim=(0, 1)
        )
        np.testing.assert_allclose(federation.control_sum, total, rtol=1e-10, atol=1e-12)
        assert federation.control.abs().max() > 1e-3
        conserved = name in ("scaffnew", "fedcomloc-com", "fedcomloc-local")
        assert (total.abs().max() < 1e-12) == conserved
    if name == "scaffold":
        # The server's c is the mean of all c_i.
        np.testing.assert_allclose(federation.server[0] * sum(weights), total, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("compressing", "plain"), [("fedcomloc-com", "scaffnew"), ("sparsefedavg", "fedavg")]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_loss_it_is_the_plain_method_bit_for_bit(
    compressing: str, plain: str, dtype: torch.dtype
) -> None:
    random = np.random.default_rng(2)
    gradients = [logistic(random) for _ in range(CLIENTS)]
    one, other = (
        Federation(
            ALGORITHMS[name](), np.linspace(-1, 1, SIZE), [1.0] * CLIENTS, uplink=compress, dtype=dtype
        )
        for name, compress in ((compressing, exact), (plain, identity))
    )
    for steps, cohort in plan_of(random, 0.3):
        for federation in (one, other):
            federation.round(federation.numbers(cohort, steps, 0.2, 0.3), cohort, gradients.__getitem__)
        assert one.model.tobytes() == other.model.tobytes()
        assert one.control.numpy().tobytes() == other.control.numpy().tobytes()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_any_floating_dtype(name: str) -> None:
    random = np.random.default_rng(5)
    gradients = [logistic(random) for _ in range(CLIENTS)]
    algorithm = CASES[name].algorithm()
    single, double = (
        Federation(algorithm, np.linspace(-1, 1, SIZE), [1.0] * CLIENTS, dtype=dtype)
        for dtype in (torch.float32, torch.float64)
    )
    for steps, cohort in plan_of(random, 0.5):
        for federation in (single, double):
            numbers = federation.numbers(cohort, steps, 0.2, 0.5, 0.7)
            federation.round(numbers, cohort, gradients.__getitem__)
    assert single.model.dtype == np.float32
    np.testing.assert_allclose(single.model, double.model, rtol=1e-5, atol=1e-5)


def test_control_variates_sum_to_zero_without_any_rounding() -> None:
    """Small multiples of powers of two, cohorts of 4, p / gamma = 1 / 2: every operation is exact."""
    random = np.random.default_rng(2)
    offsets = [random.integers(-8, 8, SIZE).astype(float) for _ in range(CLIENTS)]
    for name in ("scaffnew", "fedcomloc-com", "fedcomloc-local"):
        federation = Federation(
            ALGORITHMS[name](), np.arange(SIZE, dtype=float), [1.0] * CLIENTS, **CASES[name].compressors
        )
        for _ in range(3):
            cohort = sorted(random.choice(CLIENTS, 4, replace=False).tolist())
            federation.round(
                federation.numbers(cohort, 2, 0.5, 0.25),
                cohort,
                lambda client: lambda x: x - offsets[client],
            )
            assert torch.count_nonzero(federation.control) > 0
            assert not federation.control.sum(0).any()
            assert not federation.control_sum.any()
