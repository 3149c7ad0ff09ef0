"""What every coder makes of random and of trained messages: bits per kept entry, and nanoseconds.

    python bench/codec.py [--sizes 100000 1000000 10000000] [--densities 0.001 ... 0.9] [--csv FILE]
    python bench/codec.py --trained --data-dir DIR

Random: normal entries, TopK's support, no reference; each index coder beside raw float32 values, what the chooser
takes, and the same with 8-bit levels. Trained (MNIST, the MLP, 10 clients): a client's model after its local steps,
against the model that all started from, the mean of the cohort's, and the same without a reference. Beside them: what
torch.topk with int32 indices and float32 values takes (GRACE's layout, 64 bits an entry), and zstd and pcodec on bitmap
or gaps and values, where they are installed.

Columns: bits per kept entry of the whole message, of its indices, the latter over log2 C(d, k); nanoseconds of CPU time
to encode, selection included, per entry and per kept entry; to decode into a float64 sum, likewise; to decode into a
float32 vector, per entry. The fastest of
several repeats in one process with one thread counts: compare rows of one table only.
"""

import argparse
import csv
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from types import ModuleType

import numpy as np
import torch

from fedcomloc_mpi import kernels
from fedcomloc_mpi.compressors import Compressed, Compressor, Identity, kept_entries
from fedcomloc_mpi.compressors.composed import TopKQuantize
from fedcomloc_mpi.compressors.topk import TopK
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import Reference, available, decode_add, decode_into, encode, names, numbered
from fedcomloc_mpi.wire.coders import index_part, value_part

SELECT, TORCH_SELECT = "select and bitmap alone", "torch.topk alone"
INDICES_AT = 20  # bytes of the value section and of the index section in the header


@dataclass(frozen=True)
class Row:
    """One way to send one vector; times in nanoseconds."""

    source: str
    d: int
    k: int
    method: str
    bits_per_kept: float
    index_bits_per_kept: float
    over_bound_percent: float
    encode_per_entry: float
    encode_per_kept: float
    decode_per_entry: float
    decode_per_kept: float
    fill_per_entry: float


def optional(name: str) -> ModuleType | None:
    """Import a library that is not a requirement."""
    try:
        return import_module(name)
    except ImportError:
        return None


def fastest(action: Callable[[], object], repeats: int) -> float:
    """Return the least CPU time of several calls, in ns."""
    best = math.inf
    for _ in range(repeats):
        start = time.process_time_ns()
        action()
        best = min(best, time.process_time_ns() - start)
    return best


def row(
    source: str,
    d: int,
    k: int,
    method: str,
    sizes: tuple[int, float],
    ns: tuple[float, float, float],
) -> Row:
    """Put figures in relation.

    sizes: bytes of the message and of its indices; ns: to encode, to decode into a sum, to decode into a vector.
    """
    bound = (math.lgamma(d + 1) - math.lgamma(k + 1) - math.lgamma(d - k + 1)) / math.log(2) if k < d else 0.0
    total, index = (8 * size for size in sizes)
    over = 100 * (index / bound - 1) if bound and not math.isnan(index) else math.nan
    return Row(
        source,
        d,
        k,
        method,
        total / k,
        index / k,
        over,
        ns[0] / d,
        ns[0] / k,
        ns[1] / d,
        ns[1] / k,
        ns[2] / d,
    )


def ours(
    source: str,
    vector: np.ndarray,
    compressor: Compressor,
    reference: Reference | None,
    coders: int,
    label: str,
    layout: Layout,
    repeats: int,
) -> Row | None:
    """Measure this project's coders; None if they cannot write such a message."""
    held = None if reference is None else reference.vector
    compressed: Compressed = compressor.compress(vector, 1, held)
    try:
        message = encode(compressed, reference, coders)
    except ValueError:
        return None
    total, filled = np.zeros(layout.size), np.empty(layout.size, dtype=np.float32)
    ns = (
        fastest(lambda: encode(compressor.compress(vector, 1, held), reference, coders), repeats),
        fastest(lambda: decode_add(message.data, layout, reference, total), repeats),
        fastest(lambda: decode_into(message.data, layout, reference, filled), repeats),
    )
    index_bytes = int.from_bytes(message.data[INDICES_AT + 4 : INDICES_AT + 8].tobytes(), "little")
    carried = int.from_bytes(message.data[16:20].tobytes(), "little")
    method = f"{label} [{message.index_coder} + {message.value_coder}]"
    return row(source, layout.size, max(carried, 1), method, (message.data.size, index_bytes), ns)


def torch_topk(source: str, vector: np.ndarray, k: int, repeats: int) -> Row:
    """torch.topk, int32 indices, float32 values: 64 bits an entry."""
    tensor, total = torch.from_numpy(vector), torch.zeros(vector.size, dtype=torch.float64)

    def send() -> tuple[torch.Tensor, torch.Tensor]:
        _, indices = torch.topk(tensor.abs(), k, sorted=False)
        return indices.to(torch.int32), tensor[indices]

    indices, values = send()
    ns = (
        fastest(send, repeats),
        fastest(lambda: total.index_add_(0, indices, values.double()), repeats),
        fastest(lambda: torch.zeros(vector.size).scatter_(0, indices.long(), values), repeats),
    )
    return row(source, vector.size, k, "torch.topk, int32 + float32 (GRACE)", (8 * k, 4 * k), ns)


def selections(source: str, vector: np.ndarray, k: int, repeats: int) -> Iterator[Row]:
    """Only finding the k largest: as a bitmap by this project's kernel, as indices by torch.topk."""
    tensor, bitmap_bytes = torch.from_numpy(vector), (vector.size + 7) // 8
    ns = fastest(lambda: kernels.select(vector, k), repeats)
    yield row(source, vector.size, k, SELECT, (bitmap_bytes, bitmap_bytes), (ns, math.nan, math.nan))
    ns = fastest(lambda: torch.topk(tensor.abs(), k, sorted=False), repeats)
    yield row(source, vector.size, k, TORCH_SELECT, (8 * k, 8 * k), (ns, math.nan, math.nan))


def general_purpose(source: str, vector: np.ndarray, k: int, repeats: int) -> Iterator[Row]:
    """zstd on bitmap and values, pcodec on gaps and values; selected with this project's kernel."""
    zstandard, pcodec = optional("zstandard"), optional("pcodec")
    size, total = vector.size, np.zeros(vector.size)

    filled = np.empty(size, dtype=np.float32)

    def add(mask: np.ndarray, values: np.ndarray) -> None:
        kernels.accumulate(values, mask, 1.0, total)

    def fill(mask: np.ndarray, values: np.ndarray) -> None:
        kernels.scatter(values, mask, filled)

    if zstandard is not None:
        press, unpress = zstandard.ZstdCompressor(level=1), zstandard.ZstdDecompressor()

        def send_zstd() -> tuple[bytes, bytes]:
            mask = kernels.select(vector, k)
            return press.compress(mask.tobytes()), press.compress(kernels.gather(vector, mask, k).tobytes())

        index, values = send_zstd()

        def read_zstd(put: Callable[[np.ndarray, np.ndarray], None]) -> None:
            mask = np.frombuffer(unpress.decompress(index), dtype=np.uint8)
            put(mask, np.frombuffer(unpress.decompress(values), dtype=np.float32))

        ns = (
            fastest(send_zstd, repeats),
            fastest(lambda: read_zstd(add), repeats),
            fastest(lambda: read_zstd(fill), repeats),
        )
        yield row(
            source, size, k, "select, zstd-1 on bitmap and values", (len(index) + len(values), len(index)), ns
        )
    if pcodec is not None:
        alone = import_module("pcodec.standalone")
        config = pcodec.ChunkConfig(compression_level=8)

        def send_pcodec() -> tuple[bytes, bytes]:
            mask = kernels.select(vector, k)
            gaps = kernels.gaps(mask, size, k)
            return alone.simple_compress(gaps, config), alone.simple_compress(
                kernels.gather(vector, mask, k), config
            )

        index, values = send_pcodec()

        def read_pcodec(put: Callable[[np.ndarray, np.ndarray], None]) -> None:
            mask = np.zeros((size + 7) // 8, dtype=np.uint8)
            kernels.flip(alone.simple_decompress(index), mask, size)
            put(mask, alone.simple_decompress(values))

        ns = (
            fastest(send_pcodec, repeats),
            fastest(lambda: read_pcodec(add), repeats),
            fastest(lambda: read_pcodec(fill), repeats),
        )
        yield row(
            source, size, k, "select, pcodec-8 on gaps and values", (len(index) + len(values), len(index)), ns
        )


def random_rows(size: int, density: float, repeats: int) -> Iterator[Row]:
    """Every index coder on a random support, and the alternatives."""
    layout = Layout([size // 2, size - size // 2])
    vector = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    k, source = kept_entries(density, size), f"random {density:g}"
    topk, quantized = TopK(layout, density), TopKQuantize(layout, density, 8)
    plain_values = numbered(["float32"])
    yield from selections(source, vector, k, repeats)
    for name in names(index_part(available())):
        made = ours(source, vector, topk, None, numbered([name]) | plain_values, name, layout, repeats)
        if made is not None:
            yield made
    for label, compressor in (("chosen, float32", topk), ("chosen, 8 bits", quantized)):
        made = ours(source, vector, compressor, None, available(), label, layout, repeats)
        if made is not None:
            yield made
    yield torch_topk(source, vector, k, repeats)
    yield from general_purpose(source, vector, k, repeats)


def trained_rows(data_dir: str, densities: list[float], rounds: int, repeats: int) -> Iterator[Row]:
    """Messages of a short training: client against broadcast, broadcast against the one before."""
    for density in densities:
        layout, before, uploads, after = train(data_dir, density, rounds)
        reference, vector = Reference(before, layout), uploads[0]
        k, topk = kept_entries(density, layout.size), TopK(layout, density)
        source = f"client {density:g}"
        every = available()
        for known, where in ((reference, "reference"), (None, "alone")):
            for name in names(value_part(every)):
                coders = index_part(every) | numbered([name])
                for compressor, label in ((topk, "float32"), (TopKQuantize(layout, density, 8), "8 bits")):
                    title = f"{name}, {label}, {where}"
                    made = ours(source, vector, compressor, known, coders, title, layout, repeats)
                    if made is not None and name in made.method:
                        yield made
            mean = ours(
                f"mean {density:g}",
                after,
                Identity(layout),
                known,
                every,
                f"chosen, {where}",
                layout,
                repeats,
            )
            if mean is not None:
                yield mean
        yield torch_topk(source, vector, k, repeats)
        yield from general_purpose(source, vector, k, repeats)


def train(
    data_dir: str, density: float, rounds: int
) -> tuple[Layout, np.ndarray, list[np.ndarray], np.ndarray]:
    """Train the MLP on MNIST with ten clients in this process, TopK on their models.

    Returns the layout, the last broadcast but one, the clients' models after their steps, and the last broadcast.
    """
    from fedcomloc_mpi.data import load, partition
    from fedcomloc_mpi.models import FlatModel, build

    data = load("mnist", data_dir)
    parts = partition(
        data.train_labels, "dirichlet", 100, alpha=0.7, min_samples=10, shards_per_client=2, seed=0
    )
    model = FlatModel(build("mlp", data.input_shape, data.classes, 0))
    layout, random = model.layout, np.random.default_rng(0)
    compressor = TopK(layout, density) if density < 1 else Identity(layout)
    inputs, labels = torch.from_numpy(data.train_inputs), torch.from_numpy(data.train_labels)
    before = after = model.vector.numpy().copy()
    uploads: list[np.ndarray] = []
    for _ in range(rounds):
        before, total, uploads = after, np.zeros(layout.size), []
        for client in random.choice(100, 10, replace=False).tolist():
            vector = torch.from_numpy(before.copy())
            model.bind(vector)
            for _ in range(10):
                samples = torch.from_numpy(random.choice(parts.clients[client], 64))
                model.gradient.zero_()
                torch.nn.functional.cross_entropy(model.module(inputs[samples]), labels[samples]).backward()
                vector.sub_(model.gradient, alpha=0.05)
            uploads.append(vector.numpy())
            decode_add(encode(compressor.compress(vector.numpy(), 0)).data, layout, None, total)
        after = (total / 10).astype(np.float32)
    return layout, before, uploads, after


def main() -> None:
    """Print a line for every row as it is measured, and write them all to a CSV file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**5, 10**6, 10**7])
    parser.add_argument(
        "--densities", type=float, nargs="+", default=[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5, 0.9]
    )
    parser.add_argument(
        "--trained", action="store_true", help="messages of a short training on MNIST instead"
    )
    parser.add_argument("--data-dir", help="folder with MNIST, for --trained")
    parser.add_argument("--rounds", type=int, default=30, help="of the training")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--csv", help="write all rows to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    columns = [field.name for field in fields(Row)]
    print(
        f"{'source':<14} {'d':>9} {'k':>8} {'method':<58} " + " ".join(f"{name:>16}" for name in columns[4:])
    )
    if arguments.trained:
        if arguments.data_dir is None:
            sys.exit("--trained needs --data-dir, a folder with MNIST")
        densities = [density for density in arguments.densities if density >= 0.01]
        made = trained_rows(arguments.data_dir, [*densities, 1.0], arguments.rounds, arguments.repeats)
    else:
        made = (
            each
            for size in arguments.sizes
            for density in arguments.densities
            for each in random_rows(size, density, arguments.repeats)
        )
    rows = []
    for each in made:
        rows.append(each)
        figures = " ".join(f"{getattr(each, name):16.3f}" for name in columns[4:])
        print(f"{each.source:<14} {each.d:>9} {each.k:>8} {each.method:<58} {figures}", flush=True)
    if arguments.csv:
        with open(arguments.csv, "w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(asdict(each) for each in rows)


if __name__ == "__main__":
    main()
