"""FedComLoc-Com and Scaffnew, in double precision and without MPI, against the formulas of DESIGN section 2."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from fedcomloc_mpi.algorithms import ALGORITHMS, Algorithm, Round, Vectors

CLIENTS, SIZE = 7, 12
Gradient = Callable[[np.ndarray], np.ndarray]
Compress = Callable[[np.ndarray], np.ndarray]


def quadratic(random: np.random.Generator) -> Gradient:
    factor, centre = random.normal(size=(SIZE, SIZE)) / SIZE, random.normal(size=SIZE)
    return lambda x: factor.T @ (factor @ (x - centre)) + 0.1 * (x - centre)


def logistic(random: np.random.Generator) -> Gradient:
    samples, signs = random.normal(size=(20, SIZE)), random.choice([-1.0, 1.0], size=20)
    return lambda x: -(samples.T @ (signs / (1 + np.exp(signs * (samples @ x))))) / 20 + 0.01 * x


def topk(x: np.ndarray) -> np.ndarray:
    kept = sorted(range(SIZE), key=lambda entry: -abs(x[entry]))[: SIZE // 3]
    return np.where(np.isin(np.arange(SIZE), kept), x, 0.0)


def identity(x: np.ndarray) -> np.ndarray:
    return x.copy()


def schedule(random: np.random.Generator, rounds: int, p: float, cohort: int) -> list[tuple[int, list[int]]]:
    return [
        (int(random.geometric(p)), sorted(random.choice(CLIENTS, cohort, replace=False).tolist()))
        for _ in range(rounds)
    ]


def reference(
    gradients: list[Gradient],
    plan: list[tuple[int, list[int]]],
    p: float,
    stepsize: float,
    compress: Compress,
) -> tuple[list[np.ndarray], np.ndarray]:
    """The pseudo-code of DESIGN section 2, line by line: the model after every round, and all h at the end."""
    x = np.linspace(-1, 1, SIZE)
    h = np.zeros((CLIENTS, SIZE))
    history = []
    for steps, cohort in plan:
        hat = {}
        for i in cohort:
            x_i = x
            for _ in range(steps):
                x_i = x_i - stepsize * (gradients[i](x_i) - h[i])
            hat[i] = compress(x_i)
        x = np.sum(list(hat.values()), axis=0) / len(cohort)
        for i in cohort:
            h[i] = h[i] + p / stepsize * (x - hat[i])
        history.append(x)
    return history, h


class Problem:
    """A client that counts its gradients."""

    def __init__(self, gradient: Gradient, dtype: torch.dtype = torch.float64) -> None:
        self._gradient, self._dtype = gradient, dtype
        self.calls = 0

    def gradient(self, model: Tensor) -> Tensor:
        self.calls += 1
        return torch.from_numpy(self._gradient(model.numpy().copy())).to(self._dtype)

    def compress(self, model: Tensor) -> Tensor:
        raise AssertionError("these methods take gradients at the uncompressed model")


class Federation:
    """What the runtime does around an algorithm, for all clients in one process."""

    def __init__(self, algorithm: Algorithm, compress: Compress, dtype: torch.dtype = torch.float64) -> None:
        self.algorithm, self.compress, self.dtype = algorithm, compress, dtype
        self.broadcast: Vectors = tuple(
            torch.zeros(SIZE, dtype=dtype) for _ in range(algorithm.downlink_vectors)
        )
        self.broadcast[0].copy_(torch.linspace(-1, 1, SIZE, dtype=torch.float64))
        self.control = torch.zeros(CLIENTS, algorithm.control_vectors, SIZE, dtype=dtype)
        self.control_sum = torch.zeros(SIZE, dtype=torch.float64)

    def round(
        self,
        gradients: list[Gradient],
        round: Round,
        cohort: list[int],
        alter: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """One round; `alter` stands for a lossy downlink."""
        uploads = torch.full((len(cohort), SIZE), torch.nan, dtype=self.dtype)
        for slot, client in enumerate(cohort):
            given = [vector.clone() for vector in (*self.broadcast, *self.control[client])]
            problem = Problem(gradients[client], self.dtype)
            self.algorithm.local(
                round, self.broadcast, tuple(self.control[client]), problem, (uploads[slot],)
            )
            assert problem.calls == round.local_steps
            held = [*self.broadcast, *self.control[client]]
            assert all(torch.equal(a, b) for a, b in zip(given, held, strict=True)), "only read in local"
            uploads[slot] = torch.from_numpy(self.compress(uploads[slot].numpy()))
        mean = (uploads.double().sum(0) / len(cohort),)
        after = tuple(torch.full_like(vector, torch.nan) for vector in self.broadcast)
        self.algorithm.aggregate(round, mean, (), self.broadcast, after)
        if alter is not None:
            after = tuple(alter(vector) for vector in after)
        self.algorithm.add_to_control_sum(round, mean, after, self.control_sum)
        for slot, client in enumerate(cohort):
            self.algorithm.commit(round, self.broadcast, after, (uploads[slot],), tuple(self.control[client]))
        self.broadcast = after


def numbers(number: int, steps: int, stepsize: float, p: float, cohort: int) -> Round:
    return Round(
        number=number, local_steps=steps, stepsize=stepsize, probability=p, clients=CLIENTS, cohort=cohort
    )


@pytest.mark.parametrize("p", [1.0, 0.3])
@pytest.mark.parametrize("kind", [quadratic, logistic])
@pytest.mark.parametrize(
    ("name", "compress"), [("fedcomloc-com", topk), ("fedcomloc-com", identity), ("scaffnew", identity)]
)
def test_rounds_follow_the_pseudo_code(
    name: str, compress: Compress, kind: Callable[[np.random.Generator], Gradient], p: float
) -> None:
    random = np.random.default_rng(1)
    gradients = [kind(random) for _ in range(CLIENTS)]
    plan = schedule(random, 12, p, cohort=3)
    expected, expected_control = reference(gradients, plan, p, 0.2, compress)
    federation = Federation(ALGORITHMS[name](), compress)
    for number, (steps, cohort) in enumerate(plan, start=1):
        federation.round(gradients, numbers(number, steps, 0.2, p, len(cohort)), cohort)
        np.testing.assert_allclose(federation.broadcast[0], expected[number - 1], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(federation.control[:, 0], expected_control, rtol=1e-11, atol=1e-12)
    assert np.abs(expected_control).max() > 1e-3  # the control variates do take part
    assert federation.control[:, 0].sum(0).abs().max() < 1e-13
    assert federation.control_sum.abs().max() < 1e-13


def test_control_variates_sum_to_zero_without_any_rounding() -> None:
    """Small multiples of powers of two, cohorts of 4, p / gamma = 1 / 2: every operation is exact."""
    random = np.random.default_rng(2)
    offsets = [random.integers(-8, 8, SIZE).astype(float) for _ in range(CLIENTS)]
    gradients: list[Gradient] = [lambda x, offset=offset: x - offset for offset in offsets]  # type: ignore[misc]
    for name in ("fedcomloc-com", "scaffnew"):
        federation = Federation(ALGORITHMS[name](), topk if name == "fedcomloc-com" else identity)
        federation.broadcast[0].copy_(torch.arange(SIZE))
        for number in range(1, 4):
            cohort = sorted(random.choice(CLIENTS, 4, replace=False).tolist())
            federation.round(gradients, numbers(number, 2, 0.5, 0.25, 4), cohort)
            assert torch.count_nonzero(federation.control) > 0
            assert not federation.control.sum(0).any()
            assert not federation.control_sum.any()


@pytest.mark.parametrize("name", [name for name, each in ALGORITHMS.items() if each.control_vectors])
def test_the_control_sum_is_what_the_commits_add(name: str) -> None:
    """Also when the downlink is lossy and the sum drifts away from zero."""
    random = np.random.default_rng(3)
    gradients = [quadratic(random) for _ in range(CLIENTS)]
    federation = Federation(ALGORITHMS[name](), topk)
    for number, (steps, cohort) in enumerate(schedule(random, 8, 0.4, cohort=4), start=1):
        noise = torch.from_numpy(random.normal(size=SIZE))
        # The stepsize changes, as a learning-rate schedule would have it.
        round = numbers(number, steps, 0.2 / number, 0.4, len(cohort))
        federation.round(gradients, round, cohort, alter=lambda x, noise=noise: x + noise)  # type: ignore[misc]
        total = federation.control.sum(dim=(0, 1))
        assert total.abs().max() > 0.1
        np.testing.assert_allclose(federation.control_sum, total, rtol=1e-12, atol=1e-12)


def test_scaffnew_converges_where_plain_local_steps_do_not() -> None:
    """What control variates are for: clients with different optima, several local steps."""
    random = np.random.default_rng(4)
    curvatures = random.uniform(0.5, 2.0, size=(CLIENTS, SIZE))
    centres = random.normal(size=(CLIENTS, SIZE))
    optimum = (curvatures * centres).sum(0) / curvatures.sum(0)
    gradients: list[Gradient] = [lambda x, i=i: curvatures[i] * (x - centres[i]) for i in range(CLIENTS)]  # type: ignore[misc]
    federation, plain = (Federation(ALGORITHMS["scaffnew"](), identity) for _ in range(2))
    for number in range(1, 201):
        round = numbers(number, int(random.geometric(0.3)), 0.3, 0.3, CLIENTS)
        federation.round(gradients, round, list(range(CLIENTS)))
        plain.control.zero_()
        plain.round(gradients, round, list(range(CLIENTS)))
    assert np.abs(federation.broadcast[0].numpy() - optimum).max() < 1e-8
    assert np.abs(plain.broadcast[0].numpy() - optimum).max() > 1e-3


@pytest.mark.parametrize("name", list(ALGORITHMS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_floating_dtype(name: str, dtype: torch.dtype) -> None:
    random = np.random.default_rng(5)
    gradients = [quadratic(random) for _ in range(CLIENTS)]
    plan = schedule(random, 4, 0.5, cohort=3)
    single, double = (Federation(ALGORITHMS[name](), identity, each) for each in (dtype, torch.float64))
    for number, (steps, cohort) in enumerate(plan, start=1):
        for federation in (single, double):
            federation.round(gradients, numbers(number, steps, 0.2, 0.5, len(cohort)), cohort)
    assert single.broadcast[0].dtype == dtype
    torch.testing.assert_close(single.broadcast[0].double(), double.broadcast[0], rtol=1e-5, atol=1e-6)
