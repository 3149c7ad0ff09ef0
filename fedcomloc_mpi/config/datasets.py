"""The defaults that a data set decides: one entry for each data set that can be trained on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetDefaults:
    """Default values of the options of the same names."""

    clients: int
    cohort: int
    model: str
    lr: float
    batch_size: int
    rounds: int


# FedMNIST of the FedComLoc paper (arXiv 2403.09904): 100 clients, 10 a round, 500 rounds; FashionMNIST alike.
_FEDMNIST = DatasetDefaults(clients=100, cohort=10, model="mlp", lr=0.05, batch_size=64, rounds=500)

DATASETS: dict[str, DatasetDefaults] = {
    "digits": DatasetDefaults(clients=20, cohort=10, model="mlp", lr=0.2, batch_size=32, rounds=200),
    "mnist": _FEDMNIST,
    "fashionmnist": _FEDMNIST,
    "cifar10": DatasetDefaults(clients=100, cohort=10, model="cnn", lr=0.05, batch_size=64, rounds=300),
    "synthetic": DatasetDefaults(clients=20, cohort=10, model="logistic", lr=0.2, batch_size=32, rounds=100),
    "own": DatasetDefaults(clients=20, cohort=10, model="own", lr=0.05, batch_size=32, rounds=100),
}
