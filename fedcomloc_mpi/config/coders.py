"""The names of the wire's coders, for --coders; they are registered under the same names in `fedcomloc_mpi.wire`."""

INDEX_CODERS = ("dense", "fixed", "bitmap", "rice", "tokens", "bitmap-bytes")
VALUE_CODERS = (
    *("float32", "levels", "split-float32", "float32-differences", "level-tokens", "level-differences"),
    *("lattice-differences", "lattice-levels"),
)
CODERS = INDEX_CODERS + VALUE_CODERS
