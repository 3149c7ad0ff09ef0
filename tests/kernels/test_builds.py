"""The build for every machine and the one for x86-64-v3 give the same bits."""

import numpy as np
import pytest

from fedcomloc_mpi.compressors import Compressor, Identity
from fedcomloc_mpi.compressors.composed import TopKQuantize
from fedcomloc_mpi.compressors.lattice import LatticeQuantize
from fedcomloc_mpi.compressors.topk import TopK
from fedcomloc_mpi.kernels.native import binding
from fedcomloc_mpi.layout import Layout
from fedcomloc_mpi.wire import Reference, decode_into, encode

PLAIN, WIDE = binding.load("_codec"), binding.load("_codec_v3")
SIZE = 70_001
LAYOUT = Layout([SIZE // 2, 0, SIZE - SIZE // 2])


@pytest.mark.skipif(PLAIN is None or WIDE is None, reason="only one build, or none, is installed")
@pytest.mark.parametrize("density", [0.003, 0.1, 1.0])
def test_both_builds_give_the_same_bits(density, monkeypatch):
    if PLAIN is None or not PLAIN.fcl_runs_v3():
        pytest.skip("this machine cannot run x86-64-v3")
    random = np.random.default_rng(1)
    base = random.standard_normal(SIZE).astype(np.float32)
    base[random.random(SIZE) < 0.5] = 0
    vector = (base * (1 + 1e-3 * random.standard_normal(SIZE))).astype(np.float32)
    compressors: list[Compressor] = [TopKQuantize(LAYOUT, density, 8), LatticeQuantize(LAYOUT, density, 6)]
    compressors += [TopK(LAYOUT, density), TopKQuantize(LAYOUT, density, 4, "l2"), Identity(LAYOUT)]
    made = []
    for build in (PLAIN, WIDE):
        monkeypatch.setattr(binding, "_FUNCTIONS", binding.functions(build))
        out, results = np.empty(SIZE, dtype=np.float32), []
        for compressor in compressors:
            for reference in (Reference(base, LAYOUT), None):
                if reference is None and compressor.name == "lattice":
                    continue
                message = encode(compressor.compress(vector, 5, base), reference).data
                decode_into(message, LAYOUT, reference, out)
                results += [message.tobytes(), out.tobytes()]
        made.append(results)
    assert made[0] == made[1]
