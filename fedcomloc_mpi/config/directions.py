"""Which compressor a configuration asks for: in each direction, and for the model itself."""

from dataclasses import dataclass

from fedcomloc_mpi.config.tree import Config


@dataclass(frozen=True)
class DirectionConfig:
    """A lossy compressor: TopK if `density` < 1, then quantization if `bits` < 32.

    `density` is the fraction of entries kept, in (0, 1]; `bits` is 1 to 16, or 32 for float32; `quant_norm`
    is "max" or "l2"; `lattice` is "own" or "shared"; `compressor` is the name in `COMPRESSORS` of what does it, "topk"
    for the above.
    """

    density: float
    bits: int
    quant_norm: str
    lattice: str
    compressor: str = "topk"


def method_compression(config: Config) -> tuple[DirectionConfig | None, DirectionConfig | None]:
    """Return the compressors of the uplink and of the downlink; None where all of float32 travels."""
    compression = config.compression
    return (
        _compressor(config, compression.uplink_density, compression.uplink_bits),
        _compressor(config, compression.downlink_density, compression.downlink_bits),
    )


def model_compression(config: Config) -> DirectionConfig | None:
    """Return the algorithm's compressor C, given by --density and --bits, or None if it has none.

    C makes the model that a user would deploy, whatever the directions' own flags say.
    """
    return _compressor(config, config.compression.density, config.compression.bits)


def _compressor(config: Config, density: float, bits: int) -> DirectionConfig | None:
    if density == 1 and bits == 32:
        return None
    compression = config.compression
    return DirectionConfig(density, bits, compression.quant_norm, compression.lattice, compression.compressor)
