import subprocess
import sys
from pathlib import Path

from bench import rows
from tests.mpirun import ROOT, clean_environment


def test_both_exchanges_are_timed(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    words = ["--ranks", "2", "--sizes", "10", "1000", "--rounds", "2", "--csv", str(path)]
    subprocess.run(
        [sys.executable, "-m", "bench.collectives", *words],
        cwd=ROOT,
        env=clean_environment(),
        check=True,
        timeout=100,
        stdout=subprocess.DEVNULL,
    )
    found = [(row["exchange"], row["direction"], row["bytes"]) for row in rows.read(path)]
    kinds = [("", "0"), ("up", "10"), ("up", "1000"), ("down", "10"), ("down", "1000")]
    assert found == [(exchange, *kind) for exchange in ("collectives", "p2p") for kind in kinds]
    assert all(float(row["ms"]) > 0 and float(row["cpu_ms"]) > 0 for row in rows.read(path))


def test_the_small_version_is_a_target() -> None:
    done = subprocess.run(
        ["make", "-n", "results-quick", "ARGS=--data-dir DIR"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert "-m bench.paper --rounds 40" in done.stdout
    assert "--data-dir DIR" in done.stdout
