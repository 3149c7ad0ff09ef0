"""Configuration: flags, TOML files, defaults and checks of `python -m fedcomloc_mpi.train`.

The dataclasses of the groups (algorithm.py, compression.py, data.py, runtime.py) are the one table that everything
else here is made from; tree.py puts them together.
"""

from fedcomloc_mpi.config.algorithm import AlgorithmConfig
from fedcomloc_mpi.config.compression import CompressionConfig
from fedcomloc_mpi.config.data import DataConfig
from fedcomloc_mpi.config.datasets import DATASETS, DatasetDefaults
from fedcomloc_mpi.config.describe import help_text, markdown_table, resolved_text
from fedcomloc_mpi.config.directions import DirectionConfig, method_compression, model_compression
from fedcomloc_mpi.config.load import load_config
from fedcomloc_mpi.config.methods import COMPRESSORS, METHODS, Method
from fedcomloc_mpi.config.resolve import Resolved, make_config
from fedcomloc_mpi.config.runtime import RuntimeConfig
from fedcomloc_mpi.config.table import OPTIONS
from fedcomloc_mpi.config.toml import read_toml, to_toml
from fedcomloc_mpi.config.tree import Config, to_flat

__all__ = [
    "COMPRESSORS",
    "DATASETS",
    "METHODS",
    "OPTIONS",
    "AlgorithmConfig",
    "CompressionConfig",
    "Config",
    "DataConfig",
    "DatasetDefaults",
    "DirectionConfig",
    "Method",
    "Resolved",
    "RuntimeConfig",
    "help_text",
    "load_config",
    "make_config",
    "markdown_table",
    "method_compression",
    "model_compression",
    "read_toml",
    "resolved_text",
    "to_flat",
    "to_toml",
]
