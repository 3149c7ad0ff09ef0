import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcomloc_mpi.kernels import native, twins

CPUINFO = Path("/proc/cpuinfo")
COMPILED = native.library() is not None
BOTH = [twins, *([native] if COMPILED else [])]


@pytest.mark.parametrize("kernels", BOTH)
@given(
    size=st.one_of(st.integers(0, 300), st.integers(4000, 4300), st.integers(0, 100_000)),
    begin=st.integers(0, 17),
    before=st.integers(0, 2**32 - 1),
    seed=st.integers(0, 99),
)
def test_of_any_bytes_wherever_they_lie_in_memory(kernels, size, begin, before, seed):
    data = np.random.default_rng(seed).integers(0, 256, begin + size, dtype=np.uint8)[begin:]
    assert kernels.crc32(data, before) == zlib.crc32(data.tobytes(), before)
    data.flags.writeable = False
    assert kernels.crc32(data) == zlib.crc32(data.tobytes())


@pytest.mark.skipif(not COMPILED, reason="the package was installed without a compiler")
@pytest.mark.parametrize("size", [64, 80, 112, 128, 144, 192, 208, 4096])
def test_the_kernel_itself(size):
    """Below 4096 bytes it is not asked."""
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    capable = CPUINFO.exists() and " pclmulqdq " in CPUINFO.read_text(encoding="utf-8", errors="replace")
    for before in (0, 1, 0xDEADBEEF):
        found = native.binding.call("crc32", data, size, before, answers=-6)
        assert found == zlib.crc32(data.tobytes(), before) or (found == -6 and not capable)
    for refused in (size - 1, 48, 0, -16):
        with pytest.raises(ValueError, match="out of range"):
            native.binding.call("crc32", data, refused, 0)
