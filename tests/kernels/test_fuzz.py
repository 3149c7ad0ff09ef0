"""The C decoders on damaged sections, under address and undefined-behaviour sanitizers: a short run of `make fuzz`."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fedcomloc_mpi.kernels import native
from tests.mpirun import ROOT, clean_environment

CHANGES_PER_SEED = 300


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The harness of `make fuzz` behind a main function of its own, compiled by gcc."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc here")
    program = tmp_path_factory.mktemp("fuzz") / "replay"
    flags = [
        "-std=c11",
        "-g",
        "-O1",
        "-ffp-contract=off",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover",
    ]
    sources = [str(ROOT / "fuzz" / name) for name in ("fuzz_codec.c", "replay.c")]
    done = subprocess.run([compiler, *flags, "-o", str(program), *sources], capture_output=True, text=True)
    if "cannot find" in done.stderr:
        pytest.skip(f"this gcc has no sanitizers: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return program


@pytest.mark.skipif(native.library() is None, reason="the package was installed without a compiler")
def test_damaged_sections_upset_no_sanitizer(replay: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fuzz.seeds", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=clean_environment(), check=True)
    seeds = sorted(str(path) for path in tmp_path.iterdir())
    assert len(seeds) > 100
    done = subprocess.run(
        [str(replay), str(CHANGES_PER_SEED), *seeds], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{len(seeds) * (1 + CHANGES_PER_SEED)} inputs\n"
