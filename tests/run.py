"""Run the linters and the tests, tier after tier, and end with one line: N passed, N failed[, N skipped].

`python -m tests.run [--tier NAME]... [-- PYTEST-ARGUMENT...]` from the root of the checkout. Tiers:

    lint     ruff check, ruff format --check, mypy, shellcheck
    plain    the tests that are not marked mpi; on several cores as several processes, file by file
    mpi2     the tests marked mpi, under mpirun -n 2; every rank must pass
    mpi4     the same under mpirun -n 4

All tiers run, whatever fails. Each linter counts as one test. A test that is skipped in one tier and runs in another
is not counted as skipped. The exit code is 0 if nothing failed and something passed.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.mpirun import ROOT, clean_environment, launcher

MPI_TIERS = {"mpi2": 2, "mpi4": 4}
TIERS = ("lint", "plain", *MPI_TIERS)
TIER_SECONDS = 1800
END_SECONDS = 15
# More jobs at once, of up to 11 ranks each, would run into their time limits.
LARGEST_SPLIT = 4


@dataclass
class Outcomes:
    """Outcomes of one tier: names of tests, and for failures what is to be shown."""

    passed: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)


def run_command(command: Sequence[str]) -> int:
    """Run one command with the terminal as its output; return its exit code, 124 if it had to be ended."""
    print(f"$ {shlex.join(command)}", flush=True)
    environment = clean_environment()
    # Tests of a GPU need to see it; the jobs of all others are started without.
    environment.pop("CUDA_VISIBLE_DEVICES")
    environment |= {name: value for name, value in os.environ.items() if name == "CUDA_VISIBLE_DEVICES"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        return process.wait(TIER_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"not ended after {TIER_SECONDS} s", flush=True)
        return 124
    finally:
        # Asked to end, mpirun ends its ranks and pytest the jobs of its tests; killed at once they could not.
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def run_lint() -> Outcomes:
    """Run every linter on the whole checkout."""
    scripts = [ROOT / ".ci/run", *sorted(ROOT.glob("launch/*.sh")), *sorted(ROOT.glob("launch/*.sbatch"))]
    python = [sys.executable, "-m"]
    linters = {
        "ruff check": [*python, "ruff", "check"],
        "ruff format": [*python, "ruff", "format", "--check"],
        "mypy": [*python, "mypy"],
        "shellcheck": [
            str(Path(sys.executable).parent / "shellcheck"),
            *(str(script.relative_to(ROOT)) for script in scripts),
        ],
    }
    outcomes = Outcomes()
    for name, command in linters.items():
        code = run_command(command)
        if code == 0:
            outcomes.passed.add(name)
        else:
            outcomes.failed[name] = f"exit code {code}"
    return outcomes


def run_pytest(ranks: int, arguments: Sequence[str]) -> Outcomes:
    """Run pytest in one process, or on `ranks` ranks, and return what the ranks agree on."""
    with tempfile.TemporaryDirectory(prefix="fedcomloc tests ") as folder:
        command = [sys.executable, "-m", "tests.outcomes", folder, str(ranks)]
        if ranks == 1:
            command += ["-m", "not mpi", "--durations=10", *split_over_cores()]
        else:
            # A test that hangs in MPI never returns to Python, where a signal's handler would run.
            command = [launcher(), "-n", str(ranks), *command]
            command += ["-m", "mpi", "--with-mpi", "--timeout-method=thread", "-p", "no:cacheprovider"]
        code = run_command([*command, *arguments])
        return merge([rank_events(Path(folder) / f"rank-{rank}.jsonl") for rank in range(ranks)], code)


def split_over_cores() -> list[str]:
    """Return pytest-xdist's options: a file's tests stay together, as they share jobs, which are what takes long.

    One process more than cores: many jobs wait for a time limit, or for their slowest rank.
    """
    cores = len(os.sched_getaffinity(0))
    if cores == 1:
        return []
    return ["-n", str(min(LARGEST_SPLIT, cores + 1)), "--dist=loadfile", "--no-loadscope-reorder"]


def rank_events(path: Path) -> list[dict[str, str]]:
    """Read one rank's events; none if it never got that far. A line cut short by a crash is left out."""
    if not path.exists():
        return []
    return [
        json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(True) if line.endswith("\n")
    ]


def merge(ranks: Sequence[Sequence[dict[str, str]]], code: int) -> Outcomes:
    """Combine the events of all ranks of a tier that ended with exit code `code`.

    A test has failed if any phase of it failed on any rank, or if it began on a rank and did not end there; it has
    passed if it passed on some rank. An exit code that no failed test explains is a failure of its own.
    """
    outcomes = Outcomes()
    for rank, events in enumerate(ranks):
        where = f"rank {rank}" if len(ranks) > 1 else ""
        running: set[str] = set()
        for event in events:
            test = event["test"]
            if event["event"] == "start":
                running.add(test)
            elif event["event"] == "teardown":
                running.discard(test)
            if event.get("outcome") == "failed":
                # Rank 0 has shown its own.
                outcomes.failed.setdefault(test, f"{where}\n{event['text']}" if rank else where)
            elif event.get("outcome") == "skipped":
                outcomes.skipped.add(test)
            elif event.get("outcome") == "passed" and event["event"] == "call":
                outcomes.passed.add(test)
        for test in running:
            outcomes.failed.setdefault(test, f"did not end {where}".strip())
    if code != 0 and not outcomes.failed:
        outcomes.failed["the tier itself"] = f"exit code {code}"
    outcomes.passed -= outcomes.failed.keys()
    outcomes.skipped -= outcomes.failed.keys() | outcomes.passed
    return outcomes


def summarize(tiers: dict[str, Outcomes]) -> int:
    """Print what failed and the closing line; return the exit code."""
    for tier, outcomes in tiers.items():
        for test, text in sorted(outcomes.failed.items()):
            print(f"FAILED [{tier}] {test} {text}")
    passed = sum(len(outcomes.passed) for outcomes in tiers.values())
    failed = sum(len(outcomes.failed) for outcomes in tiers.values())
    ran = {test for outcomes in tiers.values() for test in outcomes.passed | outcomes.failed.keys()}
    skipped = len({test for outcomes in tiers.values() for test in outcomes.skipped} - ran)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 0 if passed and not failed else 1


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.run")
    parser.add_argument(
        "--tier", action="append", choices=TIERS, help="run this tier (may be repeated; default: all)"
    )
    parser.add_argument(
        "pytest", nargs="*", metavar="PYTEST-ARGUMENT", help="passed to pytest; put them after --"
    )
    options = parser.parse_args(arguments)
    # As Ctrl-C does: the tier that runs is ended, and its temporary folder goes.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tiers: dict[str, Outcomes] = {}
    for tier in options.tier or TIERS:
        print(f"\n===== {tier} =====", flush=True)
        tiers[tier] = run_lint() if tier == "lint" else run_pytest(MPI_TIERS.get(tier, 1), options.pytest)
    return summarize(tiers)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
