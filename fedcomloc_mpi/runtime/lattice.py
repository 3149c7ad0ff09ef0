"""What the server broadcasts with --lattice shared: the mean of quantized uploads, as sums of their levels."""

from dataclasses import replace

from fedcomloc_mpi.algorithms import Algorithm
from fedcomloc_mpi.compressors import Compressed
from fedcomloc_mpi.config import Config
from fedcomloc_mpi.errors import AgreedError
from fedcomloc_mpi.runtime.setup import Setup
from fedcomloc_mpi.wire import Reference, mean_levels


def on_lattice(setup: Setup, broadcast: Compressed, cohort: int, reference: Reference | None) -> Compressed:
    """Return a lossless `broadcast` with the levels that it consists of, where it is a mean on the shared lattice.

    The sum of the uploads is exact: float64 adds multiples of a power of two without rounding. A broadcast that is not
    their plain mean (weights, a server step, a second vector) comes back as it is, and travels as float32.
    """
    compression = setup.config.compression
    if compression.lattice == "own" or compression.uplink_bits == 32 or reference is None:
        return broadcast
    levels = mean_levels(broadcast.values, cohort, reference, compression.uplink_bits)
    return broadcast if levels is None else replace(broadcast, levels=levels)


def without_lattice(compressed: Compressed) -> Compressed:
    """Return what a receiver without a reference can be sent: in place of levels on the lattice, their float32."""
    levels = compressed.levels
    return compressed if levels is None or not levels.lattice else replace(compressed, levels=None)


def refuse_lattice_without_references(config: Config, algorithm: Algorithm) -> None:
    """Raise AgreedError where levels would be on the lattice of a reference that a travelling vector does not have."""
    compression = config.compression
    if compression.lattice == "own":
        return
    for direction, bits, references in (
        ("uplink", compression.uplink_bits, algorithm.uplink_references),
        ("downlink", compression.downlink_bits, algorithm.downlink_references),
    ):
        if bits != 32 and None in references:
            raise AgreedError(
                f"lattice is shared: a vector that {config.algorithm.algorithm} sends in the {direction} resembles none"
                " of the last broadcast, whose steps it would need; use --lattice own"
            )
