"""The value coders by number; docs/wire-format.md defines what each writes."""

from fedcomloc_mpi.wire.float_coders import Float32, FloatDifferences, SplitFloats
from fedcomloc_mpi.wire.lattice_coders import LatticeLevels, PackedLatticeLevels
from fedcomloc_mpi.wire.level_coders import LevelDifferences, LevelTokens, PackedLevels
from fedcomloc_mpi.wire.value_coder import ValueCoder

VALUE_CODERS: dict[int, ValueCoder] = {
    coder.number: coder
    for coder in (
        Float32(),
        PackedLevels(),
        SplitFloats(),
        FloatDifferences(),
        LevelTokens(),
        LevelDifferences(),
        LatticeLevels(),
        PackedLatticeLevels(),
    )
}
