"""docs/results/network.md from what bench.network has measured: `python -m bench.network_page`."""

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench import curves, rows
from bench.jobs import ROOT
from bench.network import METHODS, SHORT, curve_name
from bench.network_model import Load, Model

HEADERS = 66  # bytes of an Ethernet frame that are not TCP payload: 14, IPv4 20, TCP with time stamps 32
CHECKED = ("TopK", "dense, reference")  # methods whose rounds the model does not see when it is fitted
TARGETS = (0.85, 0.90, 0.93)
SERVER_LINK = 10e9  # bits per second, of the large networks
Row = dict[str, str]


def main() -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.network_page", description=__doc__)
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results" / "network")
    folder = parser.parse_args().results
    page = folder.with_suffix(".md")
    page.write_text(document(rows.read(folder / "rounds.csv"), folder), encoding="utf-8")
    print(f"written: {page}")
    return 0


def document(measured: Sequence[Row], folder: Path) -> str:
    """Return the page."""
    if not measured:
        return "# Rounds on a network\n\nNothing has been measured yet.\n"
    sections = [heading(measured, folder), dense_against_best(measured), every_cell(measured)]
    sections += [targets(measured, folder), independent_bytes(measured), *model_sections(measured)]
    return "\n\n".join(section for section in sections if section) + "\n"


def heading(measured: Sequence[Row], folder: Path) -> str:
    """Return what was measured, where and when."""
    commits = ", ".join(sorted({row["commit"] for row in measured}))
    dates = sorted({row["started"][:10] for row in measured})
    loads = [float(row["load"]) for row in measured]
    crowd = (
        f" Other jobs ran on the machine at the same time (load {min(loads):.0f} to {max(loads):.0f}), so that what"
        " computing takes is longer than on an idle one."
        if statistics.median(loads) > 4
        else ""
    )
    return (
        "# Rounds on a network\n\n"
        f"`python -m bench.network --data-dir DIR` and `python -m bench.network_page`, commit {commits},"
        f" {' to '.join(dict.fromkeys([dates[0], dates[-1]]))}, 2 cores ({measured[0]['cpu']}),"
        f" {measured[0]['ranks']} ranks. Every measurement is a row of"
        f" [rounds.csv]({folder.name}/rounds.csv).{crowd}\n\n"
        "Each rank is a network namespace of its own behind a link of its own: a token bucket limits what a client"
        " sends (Mbit/s up) and what it receives (ten times that), the server's link is not limited unless it says so,"
        " and a relay delays every frame of a client's where a delay is given. FedMNIST with the MLP of 199 210"
        " parameters, 10 local steps, every client in every round; medians over the rounds after ten of warm-up (two"
        " where models are dense). Queues never overflow: loss is not emulated."
    )


def pick(measured: Sequence[Row], **wanted: object) -> Row | None:
    """Return the last row that has these values."""
    found = [row for row in measured if all(row[name] == str(value) for name, value in wanted.items())]
    return found[-1] if found else None


def networks(measured: Sequence[Row]) -> list[tuple[str, str, str, str]]:
    """Return the networks that were measured: up and down, delay, the server's link; the narrowest first."""
    found = {(row["up_mbit"], row["down_mbit"], row["delay_ms"], row["server_mbit"]) for row in measured}
    return sorted(
        found, key=lambda network: tuple(float(figure) for figure in (*network[3:0:-1], network[0]))
    )


def shown(network: tuple[str, str, str, str]) -> str:
    """Return a network in words."""
    up, down, delay, server = network
    words = f"{up} up, {down} down"
    if float(delay):
        words += f", {delay} ms"
    return words + (f", server {server}" if float(server) else "")


def table(columns: Sequence[str], body: Iterator[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def at(measured: Sequence[Row], exchange: str, method: str, network: tuple[str, str, str, str]) -> Row | None:
    """Return the measurement of a method on a network."""
    up, down, delay, server = network
    wanted = {"up_mbit": up, "down_mbit": down, "delay_ms": delay, "server_mbit": server}
    return pick(measured, exchange=exchange, method=method, **wanted)


def dense_against_best(measured: Sequence[Row]) -> str:
    """Return the table that says what compression saves."""

    def body() -> Iterator[Sequence[str]]:
        for exchange in ("p2p", "collectives"):
            for network in networks(measured):
                dense = at(measured, exchange, "dense", network)
                times = {
                    method: float(row["seconds"])
                    for method in METHODS
                    if method != "dense" and (row := at(measured, exchange, method, network))
                }
                if dense is None or not times:
                    continue
                best = min(times, key=lambda method: times[method])
                ratio = float(dense["seconds"]) / times[best]
                yield [
                    *(exchange, shown(network), f"{float(dense['seconds']):.3f}"),
                    *(f"{times[best]:.3f}", best, f"{ratio:.1f}"),
                ]

    columns = ["exchange", "Mbit/s", "dense, s/round", "best, s/round", "best", "dense / best"]
    return "## Dense against best\n\n" + table(columns, body())


def every_cell(measured: Sequence[Row]) -> str:
    """Return seconds per round of all methods."""
    shown_methods = [method for method in METHODS if pick(measured, method=method)]

    def body() -> Iterator[Sequence[str]]:
        for exchange in ("p2p", "collectives"):
            for network in networks(measured):
                found = [at(measured, exchange, method, network) for method in shown_methods]
                if any(found):
                    yield [
                        *(exchange, shown(network)),
                        *(f"{float(row['seconds']):.3f}" if row else "" for row in found),
                    ]

    def sizes() -> Iterator[Sequence[str]]:
        for direction in ("uplink", "downlink"):
            found = (pick(measured, exchange="p2p", method=method) for method in shown_methods)
            yield [
                f"{direction}, KB",
                *(f"{getattr(Load.of(row), direction) / 1e3:.1f}" if row else "" for row in found),
            ]

    return (
        "## Seconds per round\n\n"
        + table(["exchange", "Mbit/s", *shown_methods], body())
        + "\n\nWhat a client sends and receives in a round, as MPI delivers it:\n\n"
        + table(["", *shown_methods], sizes())
        + "\n\nTopK keeps 10 % of the entries. Dense is raw float32; all others are entropy-coded, those with"
        " a reference against the last broadcast."
    )


def targets(measured: Sequence[Row], folder: Path) -> str:
    """Return the time to target accuracies."""
    learned = {method: curves.read(folder / curve_name(method)) for method in METHODS}

    def rounds(method: str, target: float) -> int | None:
        reached = [
            point.round
            for point in learned[method]
            if point.accuracy is not None and point.accuracy >= target
        ]
        return reached[0] if reached else None

    def body() -> Iterator[Sequence[str]]:
        for target in TARGETS:
            for method in METHODS:
                needed = rounds(method, target)
                if not learned[method]:
                    continue
                found = [at(measured, "p2p", method, network) for network in networks(measured)]
                yield [
                    *(f"{target:.2f}", method, f"{needed:.0f}" if needed else "not reached"),
                    *(f"{needed * float(row['seconds']):.1f}" if row and needed else "" for row in found),
                ]

    if not any(learned.values()):
        return ""
    return (
        "## Seconds to a target accuracy\n\n"
        "Rounds come from runs without a network, since the numbers of a run do not depend on it, with an evaluation"
        " every 5 rounds; seconds are rounds times the measured seconds of a round, p2p, of the first 20 or so.\n\n"
        + table(["accuracy", "method", "rounds", *map(shown, networks(measured))], body())
    )


def independent_bytes(measured: Sequence[Row]) -> str:
    """Return what the interfaces have counted beside what MPI has."""

    def body() -> Iterator[Sequence[str]]:
        for row in measured:
            cells = [row["exchange"], row["method"], shown(networks([row])[0]), row["rounds"]]
            for side, counted in (("clients", "uplink_mpi"), ("server", "downlink_mpi")):
                sent, frames, mpi = (int(row[name]) for name in (f"{side}_bytes", f"{side}_frames", counted))
                cells += [f"{mpi / 1e6:.3f}", f"{sent / mpi:.4f}", f"{(sent - HEADERS * frames) / mpi:.4f}"]
            yield [*cells, f"{row['clients_retransmitted']}, {row['server_retransmitted']}"]

    columns = [
        *("exchange", "method", "Mbit/s", "rounds", "uplink, MB", "clients raw", "clients"),
        *("downlink, MB", "server raw", "server", "sent again"),
    ]
    return (
        "## An independent count of the bytes\n\n"
        "Bytes that the kernel has counted on the senders' interfaces, over the mpi_bytes that the program has, in the"
        f" counted rounds: raw, and less {HEADERS} bytes of headers for every frame. Frames of acknowledgements, which"
        " carry nothing, vanish that way. With collectives clients relay the broadcast, so that their interfaces carry"
        " more, and the server's less, than their own messages.\n\n" + table(columns, body())
    )


def model_sections(measured: Sequence[Row]) -> Iterator[str]:
    """Yield the model's constants and errors, and what it says of large networks."""
    fitted: dict[str, Model] = {}
    lines = []
    for exchange in ("p2p", "collectives"):
        known = [row for row in measured if row["exchange"] == exchange]
        seen = [row for row in known if row["method"] not in CHECKED]
        unseen = [row for row in known if row["method"] in CHECKED]
        if len(seen) < 6 or not unseen:
            continue
        model = Model.fit([Load.of(row) for row in seen], [float(row["seconds"]) for row in seen])
        fitted[exchange] = model
        constants = (f"{constant:.3g}" for constant in model.constants)
        quality = (str(len(seen)), errors(model, seen), str(len(unseen)), errors(model, unseen))
        lines.append([exchange, *constants, *quality])
    if not fitted:
        return
    from bench import network_model

    explanation = (network_model.__doc__ or "").partition("\n\n")[2].strip()
    columns = [
        "exchange",
        "alpha, s",
        "beta",
        "gamma",
        "lambda",
        "mu",
        "fitted on",
        "error",
        "checked on",
        "error",
    ]
    yield (
        "## A model\n\n```text\n    " + explanation + "\n```\n\n"
        f"Fitted on all methods but {' and '.join(CHECKED)}, on which it is checked. Errors are relative to what"
        " was measured: the median, and the largest. Messages are about as large up as down here, and links always"
        " ten times as wide down as up, which hardly tells beta and gamma of the collectives apart: their sum counts."
        "\n\n" + table(columns, iter(lines))
    )
    if "p2p" in fitted:
        yield extrapolation(measured, fitted["p2p"])


def errors(model: Model, measured: Sequence[Row]) -> str:
    """Return the median and the largest relative error in percent."""
    found = [abs(model.seconds(Load.of(row)) / float(row["seconds"]) - 1) for row in measured]
    return f"{statistics.median(found):.0%}, {max(found):.0%}"


def extrapolation(measured: Sequence[Row], model: Model) -> str:
    """Return what the model says of more clients than were measured."""

    def body() -> Iterator[Sequence[str]]:
        for clients in (1_000, 10_000):
            for network in networks(measured):
                found = [at(measured, "p2p", method, network) for method in SHORT]
                if not all(found) or float(network[3]):
                    continue
                cells = []
                for row in filter(None, found):
                    here = Load.of(row)
                    server = float(row["server_work"]) / here.clients * clients
                    there = replace(
                        here, clients=clients, server=SERVER_LINK, work=float(row["client_work"]) + server
                    )
                    cells.append(f"{model.seconds(there):.2f}")
                yield [str(clients), shown(network), *cells]

    return (
        "## 1 000 and 10 000 clients: an extrapolation, not a measurement\n\n"
        "The model for p2p, with the sizes of messages measured above, every client in every round on a rank of its"
        f" own, a server with {SERVER_LINK / 1e9:.0f} Gbit/s in each direction, and a server's work in proportion to"
        " the number of clients. Nothing of that kind was run; seconds per round:\n\n"
        + table(["clients", "Mbit/s", *SHORT], body())
    )


if __name__ == "__main__":
    sys.exit(main())
