"""Kill, stop, starve and corrupt jobs at random points, and see that each ends, leaves nothing and can go on.

    python -m tests.soak.run [--chains N] [--seed S] [--write docs/results/reliability.md]

A chain is one run that is hit again and again: something goes wrong on a random rank at a random point of a round, the
job must end as tests/soak/faults.py says within round-timeout + 15 s, no process and nothing in /dev/shm may be left,
every record written must be bitwise that of an undisturbed run, and the next job of the chain goes on from its
checkpoint, on another number of ranks or by the other exchange. Between jobs checkpoint files are damaged; they must be
refused by name. At its end a chain must have the undisturbed run's final model and records. Rounds take about 20 ms.

Results go to a file of lines as they come, and chains in it are not run again: an interrupted soak goes on. Beside the
page every case is a row of a CSV file. Full disks need root, for a small tmpfs; without it they are left out and the
table says so.
"""

import argparse
import contextlib
import csv
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.mpirun import ROOT, JobTimeout, mpirun, start
from tests.soak.document import commit, put_section, today
from tests.soak.faults import BY_NAME, FAULTS, FILLER, RANKS, TIMEOUT, Fault, problem

ROUNDS = 400
SETTINGS = ["--clients", "60", "--cohort", "6", "--p", "0.4", "--eval-every", "20", "--seed", "5"]
CHECKPOINTS = ["--checkpoint-every", "5", "--keep-checkpoints", "2", "--round-timeout", str(TIMEOUT)]
STEPS = 7  # faults of a chain
MEGABYTES = {"run": 100, "state": 20}  # of the small disks
GRACE = 15
HEADING = "# Jobs that are hit"
COLUMNS = ("chain", "fault", "rank", "exchange", "at", "seconds", "code", "outcome", "seed", "commit")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chains", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "build" / "soak", help="runs and results go here"
    )
    parser.add_argument("--write", type=Path, help="write the table of results to this file")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    results = options.folder / "results.jsonl"
    undisturbed = options.folder / "undisturbed"
    identity = {"seed": options.seed, "commit": commit()}
    known = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    lines = [line for line in known if line["identity"] == identity]
    if len(lines) < len(known) or not (undisturbed / "final.pt").exists():
        shutil.rmtree(undisturbed, ignore_errors=True)
        lines = []
        job = mpirun(
            2,
            ["-m", "fedcomloc_mpi.train", *SETTINGS, "--rounds", str(ROUNDS), "--out", undisturbed],
            timeout=300,
        )
        assert job.returncode == 0, job
        results.write_text("")
    done = {line["chain"] for line in lines}
    for number in range(options.chains):
        if number not in done:
            cases = Chain(number, options.seed, options.folder, undisturbed).run()
            lines.append({"identity": identity, "chain": number, "cases": cases})
            with results.open("a") as file:
                file.write(json.dumps(lines[-1]) + "\n")
    cases = [case for line in lines for case in line["cases"]]
    text = table(cases)
    print(text)
    if options.write:
        put_section(options.write, HEADING, document(text, options, cases))
        write_rows(options.write.with_suffix(".csv"), lines)
    failed = [case for case in cases if case["problem"]]
    for case in failed:
        print(f"FAILED {case}")
    print(f"{len(cases) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


class Chain:
    """One run that is hit again and again."""

    def __init__(self, number: int, seed: int, folder: Path, undisturbed: Path) -> None:
        self.number = number
        self.random = random.Random(1000 * seed + number)
        self.undisturbed = undisturbed
        self.home = folder / f"chain-{number}"
        self.disks = {kind: folder / f"{kind}-{number}" for kind in MEGABYTES}
        self.cases: list[dict[str, Any]] = []
        self.refused: list[str] = []  # what the next job must refuse

    def run(self) -> list[dict[str, Any]]:
        """Run the chain; return its cases."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir()
        faults = [fault for fault in FAULTS if not fault.small_disk or os.geteuid() == 0]
        # Every fault comes about equally often over the chains.
        order = [faults[(self.number * STEPS + step) % len(faults)] for step in range(STEPS)]
        self.random.shuffle(order)
        # That one comes first, while there are still new rows to write.
        order.sort(key=lambda fault: fault.name != "state-disk")
        with (
            small_disk(self.disks["run"], MEGABYTES["run"]),
            small_disk(self.disks["state"], MEGABYTES["state"]),
        ):
            self.folder = self.disks["run"] / "run"
            for step, fault in enumerate(order):
                print(f"chain {self.number} step {step}: {fault.name}", flush=True)
                self.hit(fault)
                if self.random.random() < 0.4:
                    self.damage()
            self.finish()
        shutil.rmtree(self.home, ignore_errors=True)
        return self.cases

    def hit(self, fault: Fault) -> None:
        """Start a job that goes on with the run, and let something go wrong."""
        rank = {"run": 0, "state": 1, "": 0 if self.number % 2 else self.random.choice([1, 2])}[
            fault.small_disk
        ]
        exchange = self.random.choice(["collectives", "p2p"])
        disk = self.disks[fault.small_disk or "state"]
        state = disk if fault.small_disk == "state" else self.home
        flags = [*self.go_on(), "--exchange", exchange, "--state-dir", str(state)]
        while_starting = fault.name == "kill" and self.random.random() < 0.25
        shared: set[str] = set()
        before = rounds_done(self.folder)
        case: dict[str, Any] = {"fault": fault.name, "rank": rank, "exchange": exchange, "problem": ""}
        self.cases.append(case)
        try:
            with start(RANKS, ["-m", "tests.soak.victim", fault.victim, *flags], cwd=ROOT) as running:
                if while_starting:
                    case["at"] = "start-up"
                    time.sleep(self.random.uniform(0.3, 3.0))
                    processes = sorted(running.processes())
                    shared = shared_memory_of(processes)
                    os.kill(processes[min(len(processes) - 1, 2 + rank)], 9)  # after mpirun and its proxy
                else:
                    case["at"] = "before it came to that"
                    at = before + self.random.randint(1, 10 if fault.small_disk == "state" else 25)
                    wait_for_round(running, self.folder, at)
                    time.sleep(self.random.uniform(0, 0.04))
                    case["at"] = f"round {rounds_done(self.folder) + 1}"
                    shared = shared_memory_of(running.processes())
                    ranks = self.processes()
                    fault.strike(ranks[rank], disk)
                struck = time.monotonic()
                job = running.wait(TIMEOUT + GRACE)
                case["seconds"] = round(time.monotonic() - struck, 1)
                case["code"] = job.returncode
                if not while_starting:
                    case["problem"] = problem(fault, rank, ranks, job)
                elif job.returncode == 0:
                    case["problem"] = "exit code 0"
                self.check_refusals(job.stdout, case)
                if case["problem"]:
                    case["output"] = repr(job)[-4000:]
        except (JobTimeout, AssertionError) as error:
            case["problem"] = str(error)[:4000]
        (disk / FILLER).unlink(missing_ok=True)
        left = {name for name in shared if os.path.lexists(f"/dev/shm/{name}")}
        if left:
            case["problem"] += f" left in /dev/shm: {sorted(left)}"
        self.check_records(case)

    def damage(self) -> None:
        """Cut or change a file of the newest checkpoint, so that the next job must use the one before."""
        states = sorted(self.folder.glob("checkpoints/*.state"))
        if len(states) < 3 or self.refused:
            return
        newest = states[-1]
        files = [newest, *self.folder.glob(f"checkpoints/{newest.stem}-*.rows")]
        path = self.random.choice(files)
        data = bytearray(path.read_bytes())
        if self.random.random() < 0.5:
            del data[self.random.randrange(len(data)) :]
            what = "cut"
        else:
            data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
            what = "changed"
        path.write_bytes(data)
        self.refused = [path.name]
        kind = "state file" if path == newest else "rows file"
        self.cases.append(
            {"fault": f"{kind} {what}", "rank": "", "at": path.stem, "problem": "", "pending": True}
        )

    def check_refusals(self, output: str, case: dict[str, Any]) -> None:
        """The job before which a file was damaged must have named it."""
        pending = next((each for each in self.cases if each.get("pending")), None)
        if pending is None or " after round " not in output:
            return  # it ended before it came to look
        del pending["pending"]
        if not all(f"is refused: {name} " in output for name in self.refused):
            pending["problem"] = f"{self.refused} not refused: {output[:1000]}"
        self.refused = []

    def check_records(self, case: dict[str, Any]) -> None:
        """What has been recorded must be what the undisturbed run recorded."""
        found, expected = records(self.folder), records(self.undisturbed)
        if found != expected[: len(found)]:
            case["problem"] += " records differ from those of the undisturbed run"

    def finish(self) -> None:
        """Let the run come to its end; it must be that of the undisturbed one."""
        case: dict[str, Any] = {
            "fault": "none: the chain's end",
            "rank": "",
            "at": f"round {ROUNDS}",
            "problem": "",
        }
        job = mpirun(self.random.choice([2, 4]), ["-m", "fedcomloc_mpi.train", *self.go_on()], timeout=300)
        self.check_refusals(job.stdout, case)
        if job.returncode:
            case["problem"] = repr(job)[-4000:]
        elif records(self.folder) != records(self.undisturbed):
            case["problem"] = "records differ from those of the undisturbed run"
        elif any(
            (self.folder / name).read_bytes() != (self.undisturbed / name).read_bytes()
            for name in ("final.pt", "final_compressed.pt")
        ):
            case["problem"] = "the final model differs from that of the undisturbed run"
        self.cases.append(case)

    def go_on(self) -> list[str]:
        """Flags that begin the run, or go on with it."""
        if (self.folder / "config.toml").exists():
            return ["--resume", str(self.folder), *CHECKPOINTS]
        return [*SETTINGS, "--rounds", str(ROUNDS), *CHECKPOINTS, "--out", str(self.folder)]

    def processes(self) -> list[int]:
        """Return the process ids of the ranks of the job that runs."""
        facts = json.loads((self.folder / "environment.json").read_text())
        processes: list[int] = (facts["resumed"][-1] if "resumed" in facts else facts)["process_of_rank"]
        return processes


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Make `folder` a small disk, if this is root."""
    folder.mkdir(exist_ok=True)
    if os.geteuid() != 0:
        yield
        return
    while os.path.ismount(folder):  # a soak that was killed has left it
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "soak", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def shared_memory_of(processes: Iterable[int]) -> set[str]:
    """Return the names in /dev/shm that processes have mapped, removed or not."""
    names: set[str] = set()
    for process in processes:
        with contextlib.suppress(OSError):  # ended meanwhile
            maps = Path(f"/proc/{process}/maps").read_text(errors="replace")
            names.update(re.findall(r" /dev/shm/(\S+)", maps))
    return names


def wait_for_round(running: Any, folder: Path, number: int) -> None:
    end = time.monotonic() + 120
    while rounds_done(folder) < number:
        if running.process.poll() is not None:
            raise AssertionError(f"ended by itself: {running.output()}")
        if time.monotonic() > end:
            raise AssertionError(f"round {number} has not come: {running.output()}")
        time.sleep(0.005)


def rounds_done(folder: Path) -> int:
    path = folder / "rounds.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def records(folder: Path) -> list[dict[str, Any]]:
    """The records of a run, but for an unfinished line and what depends on time or on the number of ranks."""
    path = folder / "rounds.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    found = [json.loads(line) for line in lines]
    for record in found:
        del record["seconds"], record["uplink"]["mpi_bytes"], record["downlink"]["mpi_bytes"]
    return found


def table(cases: Sequence[dict[str, Any]]) -> str:
    """Return the results by fault and kind of rank."""
    rows = [
        "| what goes wrong | where | expected | cases | as expected | slowest end, s |",
        "|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for case in cases:
        where = "" if case["rank"] == "" else "server" if case["rank"] == 0 else "client"
        groups.setdefault((case["fault"], where), []).append(case)
    for (name, where), group in sorted(groups.items()):
        fault = BY_NAME.get(name)
        expected = fault.expected if fault else "refused by name, the one before is used"
        if name.startswith("none"):
            expected = "bitwise the undisturbed run"
        passed = sum(not case["problem"] for case in group)
        seconds = max((case.get("seconds", 0) for case in group), default=0)
        rows.append(
            f"| {fault.what if fault else name} | {where} | {expected} | {len(group)} | {passed} | {seconds or ''} |"
        )
    return "\n".join(rows)


def write_rows(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write every case to a CSV file, in the order of chains and of time."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for line in sorted(lines, key=lambda line: line["chain"]):
            for case in line["cases"]:
                outcome = case["problem"] or "as expected"
                writer.writerow({**case, **line["identity"], "chain": line["chain"], "outcome": outcome})


def document(text: str, options: argparse.Namespace, cases: Sequence[dict[str, Any]]) -> str:
    """Return the section of docs/results/reliability.md."""
    where = Counter(case.get("at") == "start-up" for case in cases)
    exchanges = Counter(case.get("exchange") for case in cases)
    disks = "" if os.geteuid() == 0 else " Without root: no full disks."
    file = options.write.with_suffix(".csv").name
    return (
        f"`make soak`: `python -m tests.soak.run --chains {options.chains} --seed {options.seed}`,"
        f" {today()}, commit {commit()}, {os.cpu_count()} cores, {RANKS} ranks,\n"
        f"--round-timeout {TIMEOUT}. {len(cases)} cases: {exchanges['collectives']} with collectives,"
        f" {exchanges['p2p']} with p2p, {where[True]} during start-up.{disks}\n"
        f"Every case is a row of [{file}]({file}).\n\n"
        "Every job must end within round-timeout + 15 s as the table says and leave no process and nothing in\n"
        "/dev/shm; all records, and the final model of every run, must be bitwise those of a run that was never\n"
        f"disturbed. The chains ({STEPS} faults of one run, resumed in between) are described in tests/soak/run.py.\n\n"
        f"{text}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
