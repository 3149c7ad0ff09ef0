"""The one table of options: all fields of the groups' dataclasses."""

from fedcomloc_mpi.config.algorithm import AlgorithmConfig
from fedcomloc_mpi.config.compression import CompressionConfig
from fedcomloc_mpi.config.data import DataConfig
from fedcomloc_mpi.config.options import Option, options_of
from fedcomloc_mpi.config.runtime import RuntimeConfig

GROUPS: dict[str, tuple[Option, ...]] = {
    "algorithm": options_of(AlgorithmConfig),
    "compression": options_of(CompressionConfig),
    "data": options_of(DataConfig),
    "runtime": options_of(RuntimeConfig),
}
"""The options by group; keys are the fields of Config."""

OPTIONS: dict[str, Option] = {each.name: each for options in GROUPS.values() for each in options}
"""Every option by name, in the order of the tree."""
