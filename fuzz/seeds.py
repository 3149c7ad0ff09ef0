"""Write sections that the encoders make as a first corpus: python fuzz/seeds.py FOLDER."""

import sys
from pathlib import Path

import numpy as np

from fedcomloc_mpi.kernels import BYTES, Mode, native


def write_seeds(folder: Path) -> None:
    """Write one file for each decoder and kind of symbols, with the bytes that fuzz_codec.c expects in front."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for count in (1, 3, 4, 60, 500):
        universe = count + 100 * (1 + 5)
        head = [count & 255, count >> 8, 100, 5]
        classes = ((np.arange(count) * 5 >> 3) & 15).astype(np.uint8)
        marks = np.sort(random.choice(universe, count, replace=False))
        gaps = (np.diff(marks, prepend=-1) - 1).astype(np.uint32)
        wide = np.exp(random.uniform(0, 22, count)).astype(np.uint32)
        for mantissa in range(4):
            for what, values, mode, each, among in (
                (0, wide, Mode.SINGLE, None, 0),
                (0, wide, Mode.ADAPTIVE, None, 0),
                (1, wide, Mode.CLASSES, classes, 0),
                (2, gaps, Mode.SINGLE, None, universe),
                (2, gaps, Mode.ADAPTIVE, None, universe),
            ):
                tokens, low_bits = native.tokenise(values, mantissa)
                section = native.plan_symbols(tokens, mantissa, mode, each, among).encode().tobytes()
                low = native.pack_low(values, mantissa, low_bits).tobytes()
                name = f"integers-{count}-{mantissa}-{what}-{mode.name.lower()}"
                (folder / name).write_bytes(bytes([what, mantissa, *head]) + section + low)
            # The reference of fuzz_codec.c, and values near it.
            patterns = (np.arange(1, universe + 1, dtype=np.uint64) * 2654435761).astype(np.uint32)
            reference = patterns.view(np.float32).copy()
            reference[~np.isfinite(reference)] = 0
            places = np.arange(count) * universe // count
            near = (reference[places].view(np.uint32) + random.integers(0, 9, count).astype(np.uint32)).view(
                np.float32
            )
            near[~np.isfinite(near)] = 0
            top, plan, low_bytes = native.plan_float_differences(near, reference[places], mantissa)
            section = plan.encode().tobytes() + low_bytes.tobytes()
            (folder / f"floats-{count}-{mantissa}").write_bytes(bytes([6, top, *head]) + section)
        symbols = random.integers(0, 256, count).astype(np.uint8)
        section = native.plan_symbols(symbols, BYTES, Mode.SINGLE).encode().tobytes()
        (folder / f"bytes-{count}").write_bytes(bytes([0, BYTES, *head]) + section)
        (folder / f"rice-{count}").write_bytes(bytes([3, 4, *head]) + native.rice_encode(gaps, 4).tobytes())
        packed = native.pack(native.positions(gaps), 10).tobytes()
        (folder / f"fixed-{count}").write_bytes(bytes([4, 10, *head]) + packed)
    _write_sparse_floats(folder, random)


def _write_sparse_floats(folder: Path, random: np.random.Generator) -> None:
    """Write both sections of sparse floats against the sparse reference of fuzz_codec.c."""
    for count, per_step in ((3, 5), (60, 20), (500, 63), (1000, 63)):
        size = count + 255 * (1 + per_step)
        patterns = (np.arange(1, size + 1, dtype=np.uint64) * 2654435761).astype(np.uint32)
        reference = patterns.view(np.float32).copy()
        reference[(np.arange(size) % 3 > 0) | ~np.isfinite(reference)] = 0
        support = native.support(reference)
        held = native.gather(reference, support, native.popcount(support))
        topk = native.select(reference, count)
        for moved in (1, count // 20 + 1):
            flags = np.unpackbits(topk, count=size, bitorder="little").astype(bool)
            flags[random.choice(np.flatnonzero(flags), moved, replace=False)] = False
            flags[random.choice(np.flatnonzero(~flags), moved, replace=False)] = True
            near = reference[flags]
            near = (near.view(np.uint32) ^ random.integers(0, 9, count).astype(np.uint32)).view(np.float32)
            mask = np.packbits(flags, bitorder="little")
            sections = native.encode_sparse_floats(near, mask, size, topk, support, held)
            if sections is None:
                continue
            head = [7, (sections.index_coder == 4) | 2, count & 255, count >> 8, 255, per_step]
            body = sections.value_bytes.to_bytes(2, "little") + sections.both.tobytes()
            (folder / f"sparse-{count}-{moved}").write_bytes(bytes(head) + body)


if __name__ == "__main__":
    write_seeds(Path(sys.argv[1]))
