"""docs/results/peers.md from the rows that bench.peers.run has written."""

from collections.abc import Sequence
from statistics import mean, median

OURS = "this, "
LOOP = "bare torch loop"


def document(rows: Sequence[dict[str, str]], file: str) -> str:
    """Return the page. rows: of `file`, the newest series of each configuration last."""
    seconds, sizes = by_entrant(rows, "seconds"), by_entrant(rows, "bytes")
    if not seconds:
        return "# This project beside its peers\n\nNothing has been measured yet.\n"
    lines = [
        "| system | processes | s/round | lowest, highest | of the bare loop | KB/round | accuracy |",
        "|---|---|---|---|---|---|---|",
    ]
    middle = {entrant: median(found) for entrant, found in seconds.items()}
    loop = middle.get((LOOP, 1))
    accuracies = {entrant: mean(found) for entrant, found in by_entrant(rows, "accuracy").items()}
    for entrant, value in middle.items():
        name, processes = entrant
        size = f"{median(sizes[entrant]) / 1e3:.1f}" if entrant in sizes else ""
        ratio = f"{value / loop:.2f}" if loop else ""
        span = f"{min(seconds[entrant]):.3f}, {max(seconds[entrant]):.3f}"
        lines.append(
            f"| {name} | {processes} | {value:.3f} | {span} | {ratio} | {size} | {accuracies[entrant]:.3f} |"
        )
    return "\n".join([heading(rows, file), *lines, "", *verdict(middle, sizes), "", NOTES])


def by_entrant(rows: Sequence[dict[str, str]], column: str) -> dict[tuple[str, int], list[float]]:
    """Return the figures in a column by system and number of processes."""
    found: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        if row[column]:
            found.setdefault((row["name"], int(row["processes"])), []).append(float(row[column]))
    return found


def heading(rows: Sequence[dict[str, str]], file: str) -> str:
    """Return what was measured, where and when."""
    commits = ", ".join(sorted({row["commit"] for row in rows}))
    dates = sorted({row["started"][:10] for row in rows})
    repeats = max(len(found) for found in by_entrant(rows, "seconds").values())
    loads = [float(row["load"]) for row in rows]
    cpus = ", ".join(sorted({f"{row['cpus']} cores ({row['cpu']})" for row in rows}))
    versions = ", ".join(sorted({row["version"].replace("==", " ") for row in rows if row["version"]}))
    crowd = (
        f" Load averages were {min(loads):.0f} to {max(loads):.0f}, the processes themselves included; ratios near 1"
        " say little."
    )
    return (
        "# This project beside its peers\n\n"
        f"`python -m bench.peers.run --data-dir DIR --repeats {repeats}`,"
        f" {' to '.join(dict.fromkeys([dates[0], dates[-1]]))}, commit {commits}, {cpus}. {versions}."
        f" Every run is a row of [{file}]({file}).{crowd}\n\n"
        "The same job everywhere: FedMNIST, MLP 784-200-200-10 (199 210 parameters, 796.8 KB), one partition.npz of 100"
        " clients, a cohort of 10, 10 local steps of 64 samples, learning rate 0.05, FedAvg in float32, one thread a"
        " process. FedComLoc is this project's own method, with density 0.1, 8 bits and the shared lattice.\n\n"
        "- **s/round**: the median over runs of each run's median over 25 rounds after 5 of warm-up.\n"
        "- **KB/round**: all that the processes send to each other in a round, uplink and downlink, as the kernel"
        " counts it on the loopback interface, the mean of 25 rounds; from runs of their own, with TCP for all.\n"
        "- **accuracy**: on the test set after the last of the 30 rounds (31 for this project), as evidence that the"
        " work was the same.\n"
    )


def verdict(middle: dict[tuple[str, int], float], sizes: dict[tuple[str, int], list[float]]) -> list[str]:
    """Return who is faster, and who sends less."""
    lines = []
    ranked = sorted(middle.items(), key=lambda item: item[1])
    (name, processes), best = ranked[0]
    lines.append(f"Fastest: {name} on {processes} process{'es' * (processes > 1)}, {best:.3f} s.")
    for system in sorted({name for name, _ in middle if not name.startswith(OURS) and name != LOOP}):
        theirs = [(value, count) for (name, count), value in middle.items() if name == system]
        for value, count in theirs:
            clients = 11 if count > 3 else 3
            ours = {
                name: mine
                for (name, number), mine in middle.items()
                if name.startswith(f"{OURS}FedAvg") and number == clients
            }
            if not ours:
                continue
            mine_name = min(ours, key=lambda name: ours[name])
            mine = ours[mine_name]
            comparison = f"{value / mine:.2f} times as long as" if value > mine else "faster than"
            detail = "" if value > mine else f", which takes {mine / value:.2f} times as long"
            lines.append(
                f"{system} on {count} process{'es' * (count > 1)} takes {value:.3f} s, {comparison}"
                f" {mine_name} on {clients} ranks ({mine:.3f} s){detail}."
            )
    return [f"- {line}" for line in lines]


NOTES = """## What to know of the systems

- **bare torch loop**: one process, no system at all: what the clients' computing takes on one core.
- **FedLab** (scale mode) sends every model from server to rank and back over gloo; a rank that has several members of
  the cohort gets the model once. Its cohort falls on ranks by the clients' numbers, so some ranks wait.
- **pfl** simulates: clients exist inside the processes only, and what processes exchange is the all-reduced sum. No
  client's message exists, so its KB/round is no communication cost of federated learning.
- **APPFL** sends pickles of torch files; its server sleeps 0.1 s before it looks for each message, one from every rank
  a round, which is the least that a round can take. Its memory optimisation, on by default, is off: it collects
  garbage dozens of times a round, and with it (commit 267b407) 30 rounds on 3 processes did not end in 600 s.
- **Flower** is its simulation: clients run in Ray's worker processes, and models go to them and back through shared
  memory, so that its KB/round holds little of them. The server is a process beside the workers.
- **this project** sends float32 as it is (`--reference=off --coders=dense,float32`), as all others do; "coded" is its
  default, the same bits in fewer bytes. It balances the cohort over its ranks, and rank 0 only serves.
"""
