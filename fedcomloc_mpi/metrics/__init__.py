"""What a run measures and leaves behind: times, bytes, round records, summary, progress, the run's folder."""

from fedcomloc_mpi.metrics.bytes import bound_bytes, dense_bytes, paper_bytes
from fedcomloc_mpi.metrics.environment import describe_environment, startup_line
from fedcomloc_mpi.metrics.progress import Progress
from fedcomloc_mpi.metrics.records import (
    DirectionBytes,
    MaxSum,
    RoundRecord,
    RoundWriter,
    over_ranks,
    parse_rounds,
    read_rounds,
)
from fedcomloc_mpi.metrics.run_folder import (
    check_out,
    create_run_folder,
    write_json,
)
from fedcomloc_mpi.metrics.stopwatch import CLIENT_PARTS, SERVER_PARTS, Stopwatch
from fedcomloc_mpi.metrics.summary import Status, Summary
from fedcomloc_mpi.metrics.table import end_table, human_bytes
from fedcomloc_mpi.metrics.tensorboard import EventWriter, require_tensorboard

__all__ = [
    "CLIENT_PARTS",
    "SERVER_PARTS",
    "DirectionBytes",
    "EventWriter",
    "MaxSum",
    "Progress",
    "RoundRecord",
    "RoundWriter",
    "Status",
    "Stopwatch",
    "Summary",
    "bound_bytes",
    "check_out",
    "create_run_folder",
    "dense_bytes",
    "describe_environment",
    "end_table",
    "human_bytes",
    "over_ranks",
    "paper_bytes",
    "parse_rounds",
    "read_rounds",
    "require_tensorboard",
    "startup_line",
    "write_json",
]
