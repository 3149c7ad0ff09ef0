"""Regularized logistic regression on the synthetic data, divided by label among the clients, in double precision."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from fedcomloc_mpi.data import load, partition

CLIENTS, SAMPLES = 20, 400


class Logistic:
    """f_i(x) = mean over client i's samples of log(1 + exp(-y a.x)) + (mu / 2) |x|^2, a with a constant 1 at its end.

    y is 1 for the classes below 5 and -1 for the others. L: the largest smoothness constant of a client; minimiser: of
    the mean of all f_i, by Newton's method.
    """

    def __init__(self, mu: float, alpha: float = 0.3) -> None:
        dataset = load("synthetic")
        labels = dataset.train_labels[:SAMPLES]
        inputs = np.hstack([dataset.train_inputs[:SAMPLES].astype(np.float64), np.ones((SAMPLES, 1))])
        signed = inputs * np.where(labels < 5, 1.0, -1.0)[:, None]
        held = partition(labels, "dirichlet", CLIENTS, alpha=alpha, min_samples=5, seed=1).clients
        self.mu, self.size = mu, inputs.shape[1]
        longest = max(len(positions) for positions in held)
        # Rows of zeros fill up clients that have fewer samples; their weight is 0.
        self.samples = np.zeros((CLIENTS, longest, self.size))
        self.weights = np.zeros((CLIENTS, longest, 1))
        for client, positions in enumerate(held):
            self.samples[client, : len(positions)] = signed[positions]
            self.weights[client, : len(positions)] = 1 / len(positions)
        # The second derivative of log(1 + exp(-z)) is at most 1/4.
        curvatures = (self.samples * self.weights).transpose(0, 2, 1) @ self.samples
        self.L = float(np.linalg.eigvalsh(curvatures).max()) / 4 + mu

    def gradient(self, clients: Sequence[int]) -> Callable[[np.ndarray], np.ndarray]:
        """The gradients of several clients, each at its own model: [k d] to [k d]."""
        samples, weights = self.samples[list(clients)], self.weights[list(clients)]
        transposed = np.ascontiguousarray((samples * weights).transpose(0, 2, 1))

        def evaluate(models: np.ndarray) -> np.ndarray:
            x = models.reshape(len(samples), self.size, 1)
            slopes = -1 / (1 + np.exp(samples @ x))
            gradients: np.ndarray = transposed @ slopes + self.mu * x
            return gradients.reshape(-1)

        return evaluate

    def hessian(self, client: int, x: np.ndarray) -> np.ndarray:
        z = self.samples[client] @ x[:, None]
        second = self.weights[client] / ((1 + np.exp(-z)) * (1 + np.exp(z)))
        curvature: np.ndarray = self.samples[client].T @ (second * self.samples[client])
        return curvature + self.mu * np.eye(self.size)

    def gradients_at(self, x: np.ndarray) -> np.ndarray:
        """grad f_i(x) of all clients, [n, d]."""
        everyone = range(CLIENTS)
        return self.gradient(everyone)(np.tile(x, CLIENTS)).reshape(CLIENTS, -1)

    def minimiser(self) -> np.ndarray:
        x = np.zeros(self.size)
        for _ in range(50):
            slope = self.gradients_at(x).mean(axis=0)
            curvature = np.mean([self.hessian(client, x) for client in range(CLIENTS)], axis=0)
            x = x - np.linalg.solve(curvature, slope)
        assert np.abs(self.gradients_at(x).mean(axis=0)).max() < 1e-15
        return x


@lru_cache
def logistic(mu: float) -> tuple[Logistic, np.ndarray]:
    """The problem with strong convexity `mu`, and its minimiser."""
    problem = Logistic(mu)
    return problem, problem.minimiser()
