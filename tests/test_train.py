import subprocess
import sys

from tests.mpirun import clean_environment


def test_what_imports_make_is_not_looked_through_for_garbage() -> None:
    """Once, and only where it is this program that imports torch."""
    code = """
import gc
from fedcomloc_mpi import train
gc.disable()
with train._kept_to_the_end():
    pass
assert gc.get_freeze_count() == 0 and not gc.isenabled()
gc.enable()
with train._kept_to_the_end():
    import torch
    assert not gc.isenabled()
kept = gc.get_freeze_count()
assert kept > 50_000, kept
assert gc.isenabled()
with train._kept_to_the_end():
    more = [[] for _ in range(10)]
    assert gc.isenabled()
assert gc.get_freeze_count() <= kept
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
