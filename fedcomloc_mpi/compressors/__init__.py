"""Compressors C(.): identity, TopK, quantization and their composition, in numpy, for float32 and float64 vectors."""

from fedcomloc_mpi.compressors.compressed import Compressed, Levels
from fedcomloc_mpi.compressors.compressor import Compressor
from fedcomloc_mpi.compressors.identity import Identity
from fedcomloc_mpi.compressors.registry import Direction, build, names, register_compressor
from fedcomloc_mpi.compressors.topk import kept_entries, select_topk

__all__ = [
    "Compressed",
    "Compressor",
    "Direction",
    "Identity",
    "Levels",
    "build",
    "kept_entries",
    "names",
    "register_compressor",
    "select_topk",
]
