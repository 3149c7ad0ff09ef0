"""Options of the data set, the model and the clients."""

from dataclasses import dataclass

from fedcomloc_mpi.config.datasets import DATASETS
from fedcomloc_mpi.config.group import COUNT, COUNT_OR_ZERO, Group
from fedcomloc_mpi.config.options import Interval, option


@dataclass(frozen=True, kw_only=True)
class DataConfig(Group):
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
        by_dataset=True, bounds=COUNT, metavar="N", help="number of clients, on any number of ranks"
    )
    cohort: int = option(
        by_dataset=True,
        bounds=COUNT,
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
        bounds=COUNT_OR_ZERO,
        metavar="N",
        help="fewest samples of a client in the dirichlet partition, at most an equal share",
    )
    shards_per_client: int = option(
        2, bounds=COUNT, metavar="N", help="shards of a client in the shards partition"
    )
