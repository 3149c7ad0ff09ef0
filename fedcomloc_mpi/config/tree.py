"""The configuration: one tree of frozen dataclasses, which is also the one table of options.

To add a flag, add a field to its group (algorithm.py, compression.py, data.py, runtime.py); to add a choice, add it to
its field (or to METHODS or DATASETS). Flags, TOML keys, checks, --help, --print-config and the table in
docs/configuration.md follow. A configuration that exists is valid: every dataclass checks its values when it is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from fedcomloc_mpi.config.algorithm import AlgorithmConfig
from fedcomloc_mpi.config.combinations import check_combination
from fedcomloc_mpi.config.compression import CompressionConfig
from fedcomloc_mpi.config.data import DataConfig
from fedcomloc_mpi.config.options import Value
from fedcomloc_mpi.config.runtime import RuntimeConfig
from fedcomloc_mpi.config.table import GROUPS


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that a run is told, resolved. Raises UserError when its values do not go together.

    Made by `load_config` (command line) or `make_config` (Python), which fill in what is not given.
    """

    algorithm: AlgorithmConfig
    compression: CompressionConfig
    data: DataConfig
    runtime: RuntimeConfig

    def __post_init__(self) -> None:
        check_combination(to_flat(self), str)


def to_flat(config: Config) -> dict[str, Value]:
    """Return every option's value by name, in the order of the tree; options that are not set are None."""
    groups = (getattr(config, field.name) for field in fields(config))
    return {field.name: getattr(group, field.name) for group in groups for field in fields(group)}


def from_flat(values: Mapping[str, Value]) -> Config:
    """Return the Config that has these values, one for each option. Raises UserError."""
    groups: dict[str, dict[str, Any]] = {
        group: {each.name: values[each.name] for each in options} for group, options in GROUPS.items()
    }
    return Config(
        algorithm=AlgorithmConfig(**groups["algorithm"]),
        compression=CompressionConfig(**groups["compression"]),
        data=DataConfig(**groups["data"]),
        runtime=RuntimeConfig(**groups["runtime"]),
    )
