"""FedComLoc over MPI: federated training with compressed models, every byte and second measured.

As a command: `python -m fedcomloc_mpi.train` under mpirun. As a library: `run`, with a configuration from
`make_config` and the user's own model and `Dataset` (docs/library.md); `register_algorithm`, with a `Method` that
describes it, and `register_compressor` add to what a configuration can name (docs/extending.md). These names are
imported when they are first used, so that importing the package is instant.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_MODULE_OF = {
    "Dataset": "fedcomloc_mpi.data",
    "Method": "fedcomloc_mpi.config",
    "load_config": "fedcomloc_mpi.config",
    "make_config": "fedcomloc_mpi.config",
    "register_algorithm": "fedcomloc_mpi.algorithms",
    "register_compressor": "fedcomloc_mpi.compressors",
    "run": "fedcomloc_mpi.runtime.job",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
