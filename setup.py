"""Build the codec's kernels where there is a C compiler; without one the package installs and codes in numpy."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            # A plain shared library that ctypes loads: it has no Python API, so one build serves every version.
            "fedcomloc_mpi.kernels._codec",
            sources=["fedcomloc_mpi/kernels/codec.c"],
            # Both ends of a message must compute the same: no fused multiply-add, baseline instruction set.
            extra_compile_args=["-std=c11", "-O3", "-ffp-contract=off", "-fvisibility=hidden"],
            optional=True,
        )
    ]
)
