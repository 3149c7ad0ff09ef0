"""--objective time: which coders make messages like those of this job arrive and be read soonest."""

import time
from collections.abc import Iterator

import numpy as np

from fedcomloc_mpi.compressors import Compressed, Compressor
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import ALWAYS, Reference, decode_add, encode, names, numbered
from fedcomloc_mpi.wire.coders import index_part, value_part

# How far a client's model is from the last broadcast, in root mean squares of the latter.
_DISTANCE = 0.01
_UPLOADS = 4
_REPEATS = 5


def fastest_coders(
    coders: int,
    bandwidth: float,
    uplink: Compressor,
    downlink: Compressor,
    model: np.ndarray,
    layout: Layout,
) -> int:
    """Return those of `coders` that are worth their time, and those that can write anything.

    bandwidth: in MB/s. model: float32 [d], what a broadcast looks like. For an uplink and a downlink message made from
    it, each coder is timed once it is warm; it is kept if coding, sending and decoding the message then takes less time
    than with any other of its kind, the message's other part written without an entropy coder.
    """
    kept = ALWAYS & coders
    for compressed, reference in _messages(uplink, downlink, model, layout):
        for kind, other in ((index_part, value_part), (value_part, index_part)):
            seconds: dict[int, float] = {}
            for name in names(kind(coders)):
                coder = numbered([name])
                try:
                    seconds[coder] = _seconds(compressed, reference, coder | other(ALWAYS), bandwidth)
                except ValueError:  # it cannot write such a message
                    continue
            if seconds:
                kept |= min(seconds, key=lambda coder: seconds[coder])
    return kept


def _seconds(compressed: Compressed, reference: Reference, coders: int, bandwidth: float) -> float:
    """Return the time to encode, send and decode a message with one set of coders. Raises ValueError."""
    total, fastest = np.zeros(compressed.layout.size), float("inf")
    size = encode(compressed, reference, coders).data.size
    for _ in range(_REPEATS):
        start = time.perf_counter()
        data = encode(compressed, reference, coders).data
        decode_add(data, compressed.layout, reference, total)
        fastest = min(fastest, time.perf_counter() - start)
    return fastest + size / (bandwidth * 1e6)


def _messages(
    uplink: Compressor, downlink: Compressor, model: np.ndarray, layout: Layout
) -> Iterator[tuple[Compressed, Reference]]:
    """Yield what a client and what the server would send, with what they would be coded against."""
    random = np.random.default_rng(0)
    spread = _DISTANCE * float(np.sqrt(np.mean(np.square(model, dtype=np.float64)))) if model.size else 0.0

    def around(center: np.ndarray) -> np.ndarray:
        return center + (spread * random.standard_normal(center.size)).astype(np.float32)

    def mean_upload(center: np.ndarray, reference: np.ndarray) -> np.ndarray:
        total = np.zeros(center.size)
        for upload in range(_UPLOADS):
            one = np.empty_like(center)
            uplink.compress(around(center), upload, reference).write_to(one)
            total += one
        return (total / _UPLOADS).astype(np.float32)

    broadcast = mean_upload(model, model)
    reference = Reference(broadcast, layout)
    yield uplink.compress(around(broadcast), 0, broadcast), reference
    yield downlink.compress(mean_upload(broadcast, broadcast), 0, broadcast), reference
