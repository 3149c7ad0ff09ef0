"""The command `mpirun -n 11 python -m fedcomloc_mpi.train`.

Exit codes: 0 finished or target reached, 1 a defect, 2 a mistake of the user's, 3 diverged, 4 a rank gave no sign of
life, 128 + N ended by signal N.
"""

import contextlib
import gc
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fedcomloc_mpi.config import Config, load_config
from fedcomloc_mpi.errors import AgreedError, RankLost, UserError
from fedcomloc_mpi.metrics import Status
from fedcomloc_mpi.transport.launcher import (
    first_on_host,
    launched,
    launched_rank,
    prepare_for_losses,
)

if TYPE_CHECKING:
    from mpi4py import MPI

DEFECT, MISTAKE, DIVERGED, LOST = 1, 2, 3, 4

# At an abort MPICH's launcher drops what ranks have written and it has not yet passed on, such as most of a traceback.
_FORWARDING_SECONDS = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job that the command line describes; return the exit code, alike on all ranks.

    An exception or SystemExit on one rank ends the whole job: its traceback is printed and MPI_Abort called, since the
    other ranks would wait for it forever. What is wrong with the command line, on all ranks or on one host alone, is
    said once.
    """
    started = time.monotonic()
    config: Config | None = None
    mistake: UserError | None = None
    try:
        with open(os.devnull, "w") as nowhere:
            quiet = contextlib.redirect_stdout(nowhere) if launched_rank() else contextlib.nullcontext()
            with quiet:  # --help and --print-config: once, not from every rank
                config = load_config(sys.argv[1:] if arguments is None else arguments).config
    except UserError as error:
        if not launched():
            return _report(error, 0)
        mistake = error
    try:
        if config is not None and config.runtime.on_rank_loss == "continue":
            prepare_for_losses()
        comm = _world_communicator()
    except UserError as error:
        # It may be missing on one host alone, so each host's first process speaks.
        return _report(mistake or error, 0 if first_on_host() else 1)
    try:
        return _train(comm, config, mistake, started)
    except AgreedError as error:
        # In many worlds of one rank each, too, only the first process speaks.
        return _report(error, comm.rank if comm.size > 1 else launched_rank())
    except UserError as error:
        return _abort(comm, MISTAKE, f"fedcomloc_mpi.train: rank {comm.rank}: {error}\n")
    except RankLost as error:
        return _abort(comm, LOST, f"fedcomloc_mpi.train: {error}\n")
    except SystemExit as leaving:
        code = leaving.code % 256 if isinstance(leaving.code, int) else DEFECT  # what a process can end with
        report = f"{traceback.format_exc()}fedcomloc_mpi.train: rank {comm.rank} left the job\n"
        return _abort(comm, code or DEFECT, report)
    except BaseException:
        report = f"{traceback.format_exc()}fedcomloc_mpi.train: rank {comm.rank} failed\n"
        return _abort(comm, DEFECT, report)


def _world_communicator() -> "MPI.Intracomm":
    import mpi4py

    mpi4py.rc.thread_level = "funneled"  # one thread talks MPI: the library needs no locks
    try:
        with warnings.catch_warnings():  # refuse_singletons says in one line what mpi4py warns of in three
            warnings.filterwarnings("ignore", "suspicious MPI execution environment")
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"no MPI library could be loaded ({' '.join(str(error).split())}): install one into this environment with"
            " `pip install mpich`, or load the MPI module of this machine"
        ) from error
    return MPI.COMM_WORLD


def _train(comm: "MPI.Intracomm", config: Config | None, mistake: UserError | None, started: float) -> int:
    """Run the job of `config`; raise AgreedError if it is missing because of a `mistake`, on this rank or another."""
    from fedcomloc_mpi.runtime.signals import SignalWatch
    from fedcomloc_mpi.transport.shared_memory import unname_library_memory
    from fedcomloc_mpi.transport.survival import refuse_without_ulfm
    from fedcomloc_mpi.transport.wait import guarded
    from fedcomloc_mpi.transport.watchdog import starting
    from fedcomloc_mpi.transport.world import agree, refuse_singletons

    # MPICH has a handler of its own for it, in which it would get lost until the job handles signals.
    signals = SignalWatch()
    signals.remember(signal.SIGUSR1)
    # Before torch is imported, which takes seconds.
    with guarded(starting(comm.rank)):
        agree(comm, mistake, named=True)
    assert config is not None
    refuse_singletons(comm.size)
    if config.runtime.on_rank_loss == "continue":
        refuse_without_ulfm()
    unname_library_memory(comm)
    with _kept_to_the_end():
        from fedcomloc_mpi.runtime.job import run

    ending = run(comm, config, started=started, signals=signals)
    if ending.status is Status.INTERRUPTED:
        return 128 + ending.signal
    return DIVERGED if ending.status is Status.DIVERGED else 0


@contextlib.contextmanager
def _kept_to_the_end() -> Iterator[None]:
    """Import torch within: what that makes is never looked through for garbage.

    It lives as long as the process, and looking through its objects, several times while they are imported and once
    more at the end, takes a quarter of the CPU time of a short job.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def _report(error: UserError, rank: int) -> int:
    """Say on the first rank what every rank has found wrong."""
    if rank == 0:
        print(f"fedcomloc_mpi.train: {error}", file=sys.stderr, flush=True)
    return MISTAKE


def _abort(comm: "MPI.Intracomm", code: int, report: str) -> int:
    sys.stdout.flush()
    sys.stderr.write(report)
    sys.stderr.flush()
    time.sleep(_FORWARDING_SECONDS)
    comm.Abort(code)
    return code


if __name__ == "__main__":
    # Until the job handles signals itself, Ctrl-C ends the process: as an exception it could get lost in an import.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main())
