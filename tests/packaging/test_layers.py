"""Imports go downwards only, and heavy or rank-bound libraries stay where they belong."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mpirun import ROOT, clean_environment

PACKAGE = ROOT / "fedcomloc_mpi"
# From the top. A module imports from lower lines and from its own package, never from its neighbours on a line.
LAYERS = (
    ("train", "report"),
    ("runtime", "reporting"),
    ("algorithms", "transport"),
    ("wire",),
    ("compressors",),
    ("kernels",),
    ("data", "models", "metrics"),
    ("config",),
    ("randomness", "layout", "atomic_file"),
    ("errors", "__init__"),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MAY_IMPORT_MPI = {"transport", "runtime", "train"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    """The top-level module or subpackage that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Absolute dotted names that a file imports anywhere in it, `from a import b` as a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = ["fedcomloc_mpi", *path.relative_to(PACKAGE).parts[:-1]]
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    part = part_of(path)
    assert part in LEVEL, f"{part} belongs to no layer: add it to LAYERS"
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "fedcomloc_mpi" and len(parts) > 1 and parts[1] in LEVEL:
            assert parts[1] == part or LEVEL[parts[1]] > LEVEL[part], f"{part} imports {name}"
        if parts[0] == "mpi4py":
            assert part in MAY_IMPORT_MPI, f"{part} imports {name}"


def test_every_folder_is_a_package() -> None:
    assert not [path for path in MODULES if not (path.parent / "__init__.py").exists()]


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("fedcomloc_mpi", "numpy"),
        ("fedcomloc_mpi.config", "torch"),
        ("fedcomloc_mpi.compressors", "torch"),
        ("fedcomloc_mpi.wire", "torch"),
    ],
)
def test_import_stays_light(module: str, unwanted: str) -> None:
    source = f"import sys, {module}; sys.exit({unwanted!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", source], env=clean_environment(), timeout=60).returncode == 0
