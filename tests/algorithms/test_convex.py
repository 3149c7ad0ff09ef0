"""Where the algorithms go on a strongly convex problem with 20 heterogeneous clients and full gradients, in float64.

The problem's minimiser comes from Newton's method, FedAvg's fixed point from Newton's method on its own equation.
"""

import math

import numpy as np
import pytest

from fedcomloc_mpi.algorithms import ALGORITHMS, Algorithm
from fedcomloc_mpi.algorithms.feddyn import FedDyn
from tests.algorithms.federation import Federation
from tests.algorithms.problems import CLIENTS, Logistic, logistic

MU = 0.05
EVERYONE = range(CLIENTS)


def start(algorithm: Algorithm, problem: Logistic) -> Federation:
    return Federation(algorithm, np.zeros(problem.size), [1.0] * CLIENTS)


def test_the_clients_are_heterogeneous() -> None:
    problem, solution = logistic(MU)
    assert 5 < problem.L / problem.mu < 50
    slopes = np.linalg.norm(problem.gradients_at(solution), axis=1)
    assert slopes.max() > 0.3 and np.median(slopes) > 0.1


@pytest.mark.parametrize("name", ["scaffnew", "fedavg", "scaffold", "feddyn"])
def test_lockstep_is_the_same_as_client_by_client(name: str) -> None:
    problem, _ = logistic(MU)
    algorithm = FedDyn(0.3) if name == "feddyn" else ALGORITHMS[name]()
    one_by_one, together = (start(algorithm, problem) for _ in range(2))
    random = np.random.default_rng(0)
    for number in range(1, 9):
        cohort = sorted(random.choice(CLIENTS, 7, replace=False).tolist())
        numbers = one_by_one.numbers(cohort, int(random.integers(1, 5)), 0.5, 0.4, number=number)
        one_by_one.round(numbers, cohort, lambda client: problem.gradient([client]))
        together.lockstep_round(numbers, cohort, problem.gradient(cohort))
    np.testing.assert_allclose(together.model, one_by_one.model, rtol=1e-13)
    np.testing.assert_allclose(together.control, one_by_one.control, rtol=1e-11, atol=1e-14)
    assert np.abs(one_by_one.model).max() > 0.1


@pytest.mark.parametrize("p", [1.0, 0.5, 0.2, 0.1])
def test_scaffnew_converges_at_its_theorem_s_rate(p: float) -> None:
    """E Psi_T <= (1 - min(gamma mu, p^2))^T Psi_0 (arXiv 2202.09357, the rate of ProxSkip, gamma = 1 / L_max).

    The exponent T is the number of local steps; by Jensen's inequality the mean of the logarithms obeys it too.
    """
    problem, solution = logistic(MU)
    gamma, slopes = 1 / problem.L, problem.gradients_at(solution)
    gradient, rate = problem.gradient(EVERYONE), 1 - min(gamma * MU, p**2)
    excess = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        federation = start(ALGORITHMS["scaffnew"](), problem)

        def psi(federation: Federation = federation) -> float:
            spread = ((federation.control[:, 0].numpy() - slopes) ** 2).sum(axis=1).mean()
            return float(((federation.model - solution) ** 2).sum() + (gamma / p) ** 2 * spread)

        first, steps = psi(), 0
        while np.linalg.norm(federation.model - solution) >= 1e-10:
            local_steps = int(random.geometric(p))
            federation.lockstep_round(federation.numbers(EVERYONE, local_steps, gamma, p), EVERYONE, gradient)
            steps += local_steps
            assert steps < 10_000
        excess.append(math.log(psi() / first) - steps * math.log(rate))
    assert np.mean(excess) <= 0


def distance(algorithm: Algorithm, cohort: int, gamma: float, local_steps: float, rounds: int) -> float:
    """Return how far the model is from the minimiser after `rounds`, or as soon as it is below 1e-10.

    local_steps: the exact number if it is an integer, else the mean of a geometric distribution.
    """
    problem, solution = logistic(MU)
    federation = start(algorithm, problem)
    random = np.random.default_rng(1)
    p = 1 / local_steps
    for _ in range(rounds):
        members = sorted(random.choice(CLIENTS, cohort, replace=False).tolist())
        steps = local_steps if isinstance(local_steps, int) else int(random.geometric(p))
        federation.lockstep_round(
            federation.numbers(members, steps, gamma / problem.L, p), members, problem.gradient(members)
        )
        if np.linalg.norm(federation.model - solution) < 1e-10:
            break
    return float(np.linalg.norm(federation.model - solution))


@pytest.mark.parametrize("p", [1.0, 0.5, 0.2, 0.1])
def test_scaffnew_reaches_the_minimiser_with_a_quarter_of_the_clients(p: float) -> None:
    assert distance(ALGORITHMS["scaffnew"](), CLIENTS // 4, 1.0, 1 / p, 4000) < 1e-10


@pytest.mark.parametrize("cohort", [CLIENTS, CLIENTS // 4])
@pytest.mark.parametrize("local_steps", [1, 5, 10])
def test_scaffold_reaches_the_minimiser(cohort: int, local_steps: int) -> None:
    assert distance(ALGORITHMS["scaffold"](), cohort, 1.0 / local_steps, local_steps, 4000) < 1e-10


@pytest.mark.parametrize("cohort", [CLIENTS, CLIENTS // 4])
@pytest.mark.parametrize("local_steps", [5, 10])
def test_feddyn_reaches_the_minimiser(cohort: int, local_steps: int) -> None:
    assert distance(FedDyn(0.3), cohort, 0.5, local_steps, 4000) < 1e-10


@pytest.mark.parametrize("local_steps", [2, 5, 10])
def test_fedavg_stops_at_its_own_fixed_point(local_steps: int) -> None:
    """x = mean of GD_i^L(x), solved by Newton's method; the derivative of GD_i^L is a product of I - gamma H_i."""
    problem, solution = logistic(MU)
    gamma, unit = 1 / problem.L, np.eye(problem.size)

    def descended(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ends, slopes = [], []
        for client in EVERYONE:
            y, slope, gradient = x, unit, problem.gradient([client])
            for _ in range(local_steps):
                slope = (unit - gamma * problem.hessian(client, y)) @ slope
                y = y - gamma * gradient(y)
            ends.append(y)
            slopes.append(slope)
        return np.mean(ends, axis=0), np.mean(slopes, axis=0)

    fixed = solution
    for _ in range(8):
        end, slope = descended(fixed)
        fixed = fixed + np.linalg.solve(unit - slope, end - fixed)
    assert np.abs(descended(fixed)[0] - fixed).max() < 1e-14
    assert np.linalg.norm(fixed - solution) > 1e-3

    federation, gradient = start(ALGORITHMS["fedavg"](), problem), problem.gradient(EVERYONE)
    for _ in range(600):
        numbers = federation.numbers(EVERYONE, local_steps, gamma, 1 / local_steps)
        federation.lockstep_round(numbers, EVERYONE, gradient)
    assert np.linalg.norm(federation.model - fixed) < 1e-10


@pytest.mark.parametrize("name", ["scaffnew", "scaffold", "fedavg"])
def test_one_step_and_all_clients_is_gradient_descent(name: str) -> None:
    problem, solution = logistic(MU)
    gamma, gradient = 1 / problem.L, problem.gradient(EVERYONE)
    federation, x = start(ALGORITHMS[name](), problem), np.zeros(problem.size)
    for _ in range(60):
        federation.lockstep_round(federation.numbers(EVERYONE, 1, gamma, 1.0), EVERYONE, gradient)
        x = x - gamma * problem.gradients_at(x).mean(axis=0)
        np.testing.assert_allclose(federation.model, x, rtol=0, atol=1e-14)
    assert 1e-6 < np.linalg.norm(x - solution) < 0.1
