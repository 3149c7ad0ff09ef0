"""docs/results/codec.md from its raw rows: python -m bench.codec_page --commit HASH [--results docs/results]."""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import mean

from bench import rows
from bench.codec import SELECT, TORCH_SELECT
from bench.jobs import ROOT

TORCH = "torch.topk, int32 + float32 (GRACE)"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--commit", required=True, help="of the timed kernels")
    arguments = parser.parse_args()
    folder = arguments.results / "codec"
    random, messages = rows.read(folder / "random.csv"), rows.read(folder / "messages.csv")
    trained = rows.read(folder / "trained.csv")
    (arguments.results / "codec.md").write_text(
        "\n".join(
            [
                "# Messages: sizes and speed\n",
                sizes(messages),
                against_bound(random),
                early_accuracy(arguments.results / "paper" / "curves" / "early"),
                selection(rows.read(folder / "select.csv")),
                speed(random),
                by_coder(trained),
                f"Kernels of commit {arguments.commit}, 2 cores (x86_64), one thread, CPU time, the fastest of several"
                " repeats; other jobs ran on the machine.\n",
            ]
        ),
        encoding="utf-8",
    )


def sizes(messages: list[dict[str, str]]) -> str:
    """Return the table of FedMNIST's messages."""
    lines = [
        "FedMNIST (d = 199 210, dense float32: 796.8 KB), 10 local steps, mean of rounds 10 to 60, KB per message,"
        " headers included: `python -m bench.messages --data-dir DIR` at commit"
        f" {', '.join(sorted({row['commit'] for row in messages}))} ([rows](codec/messages.csv)).\n",
        "| density | bits | lattice | reference | uplink, KB | downlink, KB |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['density']} | {row['bits']} | {row['lattice']} | {row['reference']} |"
        f" {float(row['uplink_kb']):.1f} | {float(row['downlink_kb']):.1f} |"
        for row in messages
    ]
    return "\n".join(lines) + "\n"


def against_bound(random: list[dict[str, str]]) -> str:
    """Return what random supports take over the bound."""
    over = [row for row in random if row["method"].startswith("chosen, float32") and int(row["k"]) >= 10_000]
    worst = max(over, key=lambda row: abs(float(row["over_bound_percent"])))
    return (
        f"Random supports (`python bench/codec.py --densities 0.001 0.01 0.1 0.5 0.9 --repeats 3`,"
        " [rows](codec/random.csv)): the chosen index coder takes at most"
        f" {float(worst['over_bound_percent']):.2f} % more than log2 C(d, k), for k from 10 000 on ({len(over)} pairs"
        " of d and density).\n"
    )


def early_accuracy(curves: Path) -> str:
    """Return the mean accuracies of rounds 80 to 100, over the seeds, of 8 bits and float32."""
    means = {}
    for bits in ("32", "8"):
        seeds = [
            mean(float(row["accuracy"]) for row in rows.read(path) if 80 <= int(row["round"]) <= 100)
            for path in sorted(curves.glob(f"{bits}-bits-seed*.csv"))
        ]
        means[bits] = f"{mean(seeds):.4f} ({', '.join(f'{each:.4f}' for each in seeds)})"
    return (
        "Accuracy with 8 bits, FedMNIST at density 0.1, mean of the evaluations of rounds 80 to 100 over seeds 0, 1, 2"
        f" (`python -m bench.paper --part early --data-dir DIR`, [rows](paper/runs.csv)): {means['8']}; with float32"
        f" {means['32']}.\n"
    )


def selection(measured: list[dict[str, str]]) -> str:
    """Return how selecting compares with torch.topk."""
    times = {(row["source"], row["method"]): float(row["encode_per_entry"]) for row in measured}
    parts = []
    for source in dict.fromkeys(row["source"] for row in measured):
        here, torch = times[source, SELECT], times[source, TORCH_SELECT]
        parts.append(
            f"{torch / here:.0f} times at density {source.split()[1]} ({here:.2f} and {torch:.2f} ns)"
        )
    return (
        "Selecting the k largest of d = 1e6 into a bitmap is faster than torch.topk (`python bench/codec.py --sizes"
        f" 1000000 --densities 0.01 0.1 0.5`, [rows](codec/select.csv), ns per entry): {', '.join(parts)}.\n"
    )


def speed(random: list[dict[str, str]]) -> str:
    """Return times beside torch's."""
    lines = [
        "Nanoseconds per entry of the vector, no reference: selecting and encoding, decoding into a float64 sum, and"
        " into a float32 vector; beside torch.topk with int32 indices and float32 values, which decodes by"
        " index_add and by scatter.\n",
        "| d | density | message | encode | torch | sum | torch | vector | torch |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    beside = {(row["d"], row["source"]): row for row in random if row["method"] == TORCH}
    for row in random:
        if row["method"].startswith("chosen") and int(row["d"]) >= 1_000_000:
            lines.append(speed_line(row, beside[row["d"], row["source"]]))
    lines.append(
        "\nWhere torch is faster it is in decoding: raw indices and values need none. zstd and pcodec, which the"
        " program can compare with, were not installed."
    )
    return "\n".join(lines) + "\n"


def speed_line(row: Mapping[str, str], other: Mapping[str, str]) -> str:
    """Return one line of that table."""
    kinds = ("encode_per_entry", "decode_per_entry", "fill_per_entry")
    times = " | ".join(f"{float(row[kind]):.2f} | {float(other[kind]):.2f}" for kind in kinds)
    label = row["method"].removeprefix("chosen, ").split(" [")[0]
    return f"| {int(row['d']):.0e} | {row['source'].split()[1]} | {label} | {times} |"


def by_coder(trained: list[dict[str, str]]) -> str:
    """Return what each value coder makes of a client's trained model."""
    lines = [
        "A client's model in a training (`python bench/codec.py --trained --data-dir DIR --repeats 3`,"
        " [rows](codec/trained.csv)),"
        " bits per kept entry in all, and of the indices (log2 C(d, k) / k for an unknown support). After 30 rounds"
        " models of density 0.1 and less have hardly begun to move here, which is why so few bits are new:\n",
        "| density | values | coded | bits | of them indices | bound of the indices |",
        "|---|---|---|---|---|---|",
    ]
    for row in trained:
        source, density = row["source"].split()
        if source == "client" and density in ("0.01", "0.1", "0.5", "1") and row["method"] != TORCH:
            name, values, how = row["method"].split(" [")[0].split(", ")
            d, k = int(row["d"]), int(row["k"])
            bound = (math.lgamma(d + 1) - math.lgamma(k + 1) - math.lgamma(d - k + 1)) / math.log(2) / k
            how = "against the reference" if how == "reference" else "alone"
            lines.append(
                f"| {density} | {values}, {name} | {how} | {float(row['bits_per_kept']):.2f} |"
                f" {float(row['index_bits_per_kept']):.2f} | {max(bound, 0):.2f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
