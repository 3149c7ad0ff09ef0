"""Build the codec's kernels where there is a C compiler; without one the package installs and codes in numpy."""

import platform

from setuptools import Extension, setup

# Both ends of a message must compute the same: no fused multiply-add. All builds give the same bits.
OPTIONS = ["-std=c11", "-O3", "-ffp-contract=off", "-fvisibility=hidden"]


def kernels(name: str, *options: str) -> Extension:
    """Return a plain shared library that ctypes loads: it has no Python API, so one build serves every version."""
    return Extension(
        f"fedcomloc_mpi.kernels.{name}",
        sources=["fedcomloc_mpi/kernels/codec.c"],
        extra_compile_args=[*OPTIONS, *options],
        optional=True,
    )


builds = [kernels("_codec")]
if platform.machine() in ("x86_64", "AMD64"):
    builds.append(kernels("_codec_v3", "-march=x86-64-v3"))
setup(ext_modules=builds)
