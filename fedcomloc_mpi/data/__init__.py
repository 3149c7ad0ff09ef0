"""Data sets in memory and their division among clients. Cheap to import: no torch, no sklearn."""

from fedcomloc_mpi.data.datasets import DATASETS, Dataset, load
from fedcomloc_mpi.data.download import download
from fedcomloc_mpi.data.own import check_dataset
from fedcomloc_mpi.data.partition import PARTITIONS, Partition, holds_partition, partition, save_partition
from fedcomloc_mpi.data.torchvision_import import import_torchvision

__all__ = [
    "DATASETS",
    "PARTITIONS",
    "Dataset",
    "Partition",
    "check_dataset",
    "download",
    "holds_partition",
    "import_torchvision",
    "load",
    "partition",
    "save_partition",
]
