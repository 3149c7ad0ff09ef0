"""Options of the compression, and of the coding of what is left."""

from dataclasses import dataclass

from fedcomloc_mpi.config.coders import CODERS
from fedcomloc_mpi.config.group import BITS, FRACTION, SWITCH, Group
from fedcomloc_mpi.config.methods import COMPRESSORS
from fedcomloc_mpi.config.options import Interval, option


@dataclass(frozen=True, kw_only=True)
class CompressionConfig(Group):
    """What is lost of a model on the way, and how the rest is coded."""

    compressor: str = option(
        "topk",
        choices=COMPRESSORS,
        neutral="topk",
        metavar="NAME",
        help="what compresses where the density is below 1 or the bits below 32; topk: TopK, then quantization",
    )
    density: float = option(
        0.1,
        bounds=FRACTION,
        neutral=1.0,
        metavar="F",
        help="fraction of the model's entries that TopK keeps; 1: all",
        also=("sparsity", "topk", "top_k", "ratio"),
    )
    bits: int = option(
        32,
        bounds=BITS,
        neutral=32,
        metavar="R",
        help="bits of a quantized magnitude; 32: no quantization",
        also=("quantization", "quantize"),
    )
    quant_norm: str = option(
        "max",
        choices=("max", "l2"),
        neutral="max",
        metavar="NORM",
        help="scale of a quantized layer: its largest magnitude, or its Euclidean norm (noisy at few bits)",
    )
    lattice: str = option(
        "own",
        choices=("own", "shared"),
        neutral="own",
        metavar="WHICH",
        help="where the scales of quantization come from: own, the quantized model itself; shared, the last broadcast, "
        "so that a mean of quantized models travels as levels too",
    )
    objective: str = option(
        "bytes",
        choices=("bytes", "time"),
        metavar="WHAT",
        help="what the choice among coders makes small: each message; or, measured once at the start, the time to code "
        "it and to send it at --bandwidth",
    )
    bandwidth: float = option(
        125.0,
        bounds=(Interval(0, 1e9, above=True),),
        metavar="MB",
        help="megabytes per second of a rank's link, for --objective time",
    )
    coders: str | None = option(
        None,
        choices=CODERS,
        several=True,
        metavar="NAMES",
        help="the coders that compete beside those that can write anything",
        unset="all that every rank has, or what --objective time finds",
    )
    reference: str = option(
        "on",
        choices=SWITCH,
        metavar="on|off",
        help="code messages against the last broadcast model, which both ends hold; sets both directions",
    )
    uplink_density: float = option(
        follows="density",
        direction="uplink",
        neutral=1.0,
        bounds=FRACTION,
        metavar="F",
        help="density of what clients send",
    )
    uplink_bits: int = option(
        follows="bits",
        direction="uplink",
        neutral=32,
        bounds=BITS,
        metavar="R",
        help="bits of what clients send",
    )
    uplink_reference: str = option(
        follows="reference",
        direction="uplink",
        choices=SWITCH,
        metavar="on|off",
        help="reference for what clients send",
    )
    downlink_density: float = option(
        follows="density",
        direction="downlink",
        neutral=1.0,
        bounds=FRACTION,
        metavar="F",
        help="density of what the server sends",
    )
    downlink_bits: int = option(
        follows="bits",
        direction="downlink",
        neutral=32,
        bounds=BITS,
        metavar="R",
        help="bits of what the server sends",
    )
    downlink_reference: str = option(
        follows="reference",
        direction="downlink",
        choices=SWITCH,
        metavar="on|off",
        help="reference for what the server sends",
    )
