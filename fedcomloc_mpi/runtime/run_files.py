"""The files that a run leaves in its folder, rounds.jsonl aside."""

from pathlib import Path
from typing import Any

from torch import Tensor

from fedcomloc_mpi.atomic_file import atomic_write
from fedcomloc_mpi.config import to_toml
from fedcomloc_mpi.data import Partition, save_partition
from fedcomloc_mpi.metrics import (
    RoundWriter,
    create_run_folder,
    describe_environment,
    write_json,
)
from fedcomloc_mpi.models import state_bytes
from fedcomloc_mpi.runtime.coders import left_out
from fedcomloc_mpi.runtime.setup import Setup
from fedcomloc_mpi.runtime.training_data import TrainingData
from fedcomloc_mpi.transport.world import library_version
from fedcomloc_mpi.wire import names


class RunFiles:
    """Writes the files of one run, each either whole or not at all; used by the server alone."""

    def __init__(self, setup: Setup, data: TrainingData) -> None:
        """Create the run's folder with what is known before the first round. Raises UserError."""
        config = setup.config
        self._setup = setup
        self.folder: Path = create_run_folder(
            config.runtime.out, config.data.dataset, config.algorithm.algorithm, to_toml(config)
        )
        facts = describe_environment(
            mpi_library=library_version(),
            hosts=setup.world.hosts,
            coders={"in_use": list(names(setup.coders)), "left_out": list(left_out(setup.coders))},
            threads=config.runtime.threads,
            bitwise=True,
            extra={"partition_redraws": data.redraws, "partition_repaired_samples": data.repaired},
        )
        write_json(self.folder / "environment.json", facts)
        save_partition(
            self.folder / "partition.npz", Partition(list(data.partition), data.redraws, data.repaired)
        )
        self.write_model("initial.pt", setup.initial)

    def open_rounds(self) -> RoundWriter:
        """Open rounds.jsonl for appending."""
        return RoundWriter(self.folder / "rounds.jsonl")

    def write_model(self, name: str, vector: Tensor) -> None:
        """Write a flat model, float32 [d], as a state_dict."""
        atomic_write(self.folder / name, state_bytes(self._setup.model.state_dict_of(vector)))

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write summary.json."""
        write_json(self.folder / "summary.json", summary)
