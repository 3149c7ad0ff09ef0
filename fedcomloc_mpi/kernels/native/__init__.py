"""The kernels of codec.c through ctypes, with numpy arrays in and out; `twins` holds the same functions in numpy.

All bitmaps are uint8 [ceil(d / 8)], least significant bit first. Functions that read untrusted bytes raise
MessageError; arguments that break a function's contract raise ValueError.
"""

from fedcomloc_mpi.kernels.native.binding import library
from fedcomloc_mpi.kernels.native.bitmaps import (
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
from fedcomloc_mpi.kernels.native.checksum import crc32
from fedcomloc_mpi.kernels.native.differences import (
    apply_float_differences,
    apply_level_differences,
    float_differences,
    level_differences,
    reference_classes,
)
from fedcomloc_mpi.kernels.native.fingerprints import fingerprint
from fedcomloc_mpi.kernels.native.float_coding import decode_float_differences, plan_float_differences
from fedcomloc_mpi.kernels.native.packing import (
    join_floats,
    pack,
    rice_decode,
    rice_encode,
    rice_parameter,
    rice_size,
    split_floats,
    unpack,
)
from fedcomloc_mpi.kernels.native.quantization import dequantize, layer_maxima, quantize
from fedcomloc_mpi.kernels.native.sparse_floats import (
    add_sparse_floats,
    decode_sparse_floats,
    encode_sparse_floats,
)
from fedcomloc_mpi.kernels.native.symbols import SymbolPlan, decode_symbols, plan_symbols
from fedcomloc_mpi.kernels.native.tokens import pack_low, tokenise, unpack_low

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
    "library",
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
