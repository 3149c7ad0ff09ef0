"""The kernels of codec.c in numpy: the same functions as `native`, the same results, byte for byte.

They are what a machine without a compiler codes with (except the entropy coder, which is only a reference here: a step
of Python for every symbol), and what the tests hold the C code against. `sparse_floats`, which only combines others in
`native`, declines.
"""

from fedcomloc_mpi.kernels.twins.bitmaps import (
    accumulate,
    expand,
    flip,
    gaps,
    gaps_of_positions,
    gather,
    gather_known,
    mark,
    popcount,
    positions,
    scatter,
    select,
    support,
    unmark,
)
from fedcomloc_mpi.kernels.twins.checksum import crc32
from fedcomloc_mpi.kernels.twins.differences import (
    apply_float_differences,
    apply_level_differences,
    float_differences,
    join_floats,
    level_differences,
    reference_classes,
    split_floats,
)
from fedcomloc_mpi.kernels.twins.fingerprints import fingerprint
from fedcomloc_mpi.kernels.twins.float_coding import decode_float_differences, plan_float_differences
from fedcomloc_mpi.kernels.twins.packing import (
    pack,
    rice_decode,
    rice_encode,
    rice_parameter,
    rice_size,
    unpack,
)
from fedcomloc_mpi.kernels.twins.quantization import dequantize, layer_maxima, quantize
from fedcomloc_mpi.kernels.twins.sparse_floats import (
    add_sparse_floats,
    decode_sparse_floats,
    encode_sparse_floats,
)
from fedcomloc_mpi.kernels.twins.symbols import SymbolPlan, decode_symbols, plan_symbols
from fedcomloc_mpi.kernels.twins.tokens import pack_low, tokenise, unpack_low

__all__ = [
    "SymbolPlan",
    "accumulate",
    "add_sparse_floats",
    "apply_float_differences",
    "apply_level_differences",
    "crc32",
    "decode_float_differences",
    "decode_sparse_floats",
    "decode_symbols",
    "dequantize",
    "encode_sparse_floats",
    "expand",
    "fingerprint",
    "flip",
    "float_differences",
    "gaps",
    "gaps_of_positions",
    "gather",
    "gather_known",
    "join_floats",
    "layer_maxima",
    "level_differences",
    "mark",
    "pack",
    "pack_low",
    "plan_float_differences",
    "plan_symbols",
    "popcount",
    "positions",
    "quantize",
    "reference_classes",
    "rice_decode",
    "rice_encode",
    "rice_parameter",
    "rice_size",
    "scatter",
    "select",
    "split_floats",
    "support",
    "tokenise",
    "unmark",
    "unpack",
    "unpack_low",
]
