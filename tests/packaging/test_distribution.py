"""What gets installed: the wheel, the pins, the version."""

import ast
import configparser
import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import fedcomloc_mpi
from tests.mpirun import ROOT, clean_environment

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
# What pip itself brings or needs: never pinned.
INSTALLER = {"pip", "wheel"}


def build_wheel(source: Path, **environment: str) -> Path:
    """Run `pip wheel .` on a copy of the sources, so that the checkout stays clean; return the wheel."""
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for optional in ("setup.py", "MANIFEST.in"):
        if (ROOT / optional).exists():
            shutil.copy(ROOT / optional, source)
    shutil.copytree(
        ROOT / "fedcomloc_mpi", source / "fedcomloc_mpi", ignore=shutil.ignore_patterns("__pycache__", "*.so")
    )
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        "out",
        ".",
    ]
    env = os.environ | environment
    done = subprocess.run(command, cwd=source, env=env, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (source / "out").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("source") / "with space")


def test_wheel_holds_every_module_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "fedcomloc_mpi").rglob("*.py")}
    assert modules <= names
    assert not [name for name in names if name.startswith(("tests/", "bench/"))]
    assert [name for name in names if name.endswith("LICENSE")]


def test_wheel_works_alone(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    source = "import fedcomloc_mpi; print(fedcomloc_mpi.__file__)"
    env = clean_environment() | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert Path(done.stdout.strip()) == tmp_path / "fedcomloc_mpi" / "__init__.py", done.stderr


COMPILED = "from fedcomloc_mpi import kernels, wire; print(kernels.COMPILED, *wire.names(wire.available()))"


def run_from(wheel: Path, folder: Path, source: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    env = clean_environment() | {"PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-c", source], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(shutil.which("cc") is None and shutil.which("gcc") is None, reason="no C compiler here")
def test_wheel_holds_the_compiled_kernels_and_their_source(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert [name for name in names if re.fullmatch(r"fedcomloc_mpi/kernels/_codec[^/]*\.so", name)]
    assert "fedcomloc_mpi/kernels/codec.c" in names
    assert run_from(wheel, tmp_path, COMPILED).startswith("True dense fixed bitmap rice tokens")


def test_without_a_compiler_the_package_builds_and_codes_in_numpy(tmp_path: Path) -> None:
    built = build_wheel(tmp_path / "source", CC="false")
    with zipfile.ZipFile(built) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".so")]
    found = run_from(built, tmp_path / "installed", COMPILED)
    assert found == "False dense fixed bitmap rice float32 levels lattice-levels"


def test_version_and_python_are_declared_once(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Version"] == fedcomloc_mpi.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra", [])) == {"mpich", "report", "test"}


def requirements(section: str, key: str) -> list[Requirement]:
    return [Requirement(line) for line in SETUP[section][key].splitlines() if line.strip()]


def asked_for() -> list[Requirement]:
    """Everything that `pip install .[mpich,report,test]` asks for by name."""
    extras = [name for name in SETUP["options.extras_require"] if not name.startswith("#")]
    found = requirements("options", "install_requires")
    for extra in extras:
        found += requirements("options.extras_require", extra)
    return found


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line.strip() and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_pins_are_exactly_what_the_extras_need() -> None:
    """Walks the requirements of what is installed here: each is pinned, and nothing else is."""
    needed: set[str] = set()
    waiting = [requirement.name for requirement in asked_for()]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in needed:
            continue
        needed.add(name)
        for line in distribution(name).requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    # A build of torch for GPUs names its own CUDA packages exactly.
    needed = {name for name in needed if not name.startswith(("nvidia-", "cuda-")) and name != "triton"}
    assert needed | {"setuptools"} == pins().keys()


def test_pins_lie_in_the_ranges_that_the_package_asks_for() -> None:
    for requirement in asked_for():
        assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)]), requirement
        assert "==" not in str(requirement.specifier), "exact versions belong in constraints.txt"


def test_packages_that_the_code_imports_are_asked_for() -> None:
    names = {"sklearn": "scikit-learn", "PIL": "pillow"}
    optional = {"tensorboard", "matplotlib"}
    asked = {
        canonicalize_name(requirement.name) for requirement in requirements("options", "install_requires")
    }
    for path in (ROOT / "fedcomloc_mpi").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = []
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported = [node.module or ""]
            for module in imported:
                top = module.split(".")[0]
                if top in sys.stdlib_module_names or top in optional or top == "fedcomloc_mpi":
                    continue
                assert canonicalize_name(names.get(top, top)) in asked, (
                    f"{path.relative_to(ROOT)} imports {module}"
                )


def make(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=60)


def test_make_help_names_every_target() -> None:
    shown = make("help", cwd=ROOT).stdout
    phony = re.search(r"^\.PHONY: (help .*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony
    for target in phony[1].split():
        assert re.search(rf"^  make {target} ", shown, re.MULTILINE), target


@pytest.fixture
def fake_checkout(tmp_path: Path) -> Path:
    """A folder with a space in its path that holds the Makefile and what it depends on, and a Python that only logs."""
    folder = tmp_path / "a checkout"
    folder.mkdir()
    for name in ("Makefile", "setup.cfg", "setup.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    kernels = folder / "fedcomloc_mpi/kernels"
    kernels.mkdir(parents=True)
    shutil.copy(ROOT / "fedcomloc_mpi/kernels/codec.c", kernels)
    python = tmp_path / "a python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$*" >>log\n')
    python.chmod(0o755)
    (folder / ".venv/bin").mkdir(parents=True)
    for name in ("python", "mpirun"):
        shutil.copy(python, folder / ".venv/bin" / name)
    return folder


def test_make_sets_up_once_and_again_when_the_requirements_change(fake_checkout: Path) -> None:
    log, python = fake_checkout / "log", f"PYTHON={fake_checkout.parent / 'a python'}"

    def installs() -> int:
        done = make("lint", python, cwd=fake_checkout)
        assert done.returncode == 0, done.stderr
        count = sum("--editable" in line for line in log.read_text().splitlines())
        log.unlink()
        return count

    assert installs() == 1
    assert installs() == 0
    stamp = fake_checkout / ".venv/.installed"
    newer = stamp.stat().st_mtime + 10
    os.utime(fake_checkout / "constraints.txt", (newer, newer))
    os.utime(stamp, (newer - 1, newer - 1))
    assert installs() == 1
    moved = fake_checkout.rename(fake_checkout.with_name("moved elsewhere"))
    os.utime(moved / ".venv/.installed", (newer + 20, newer + 20))
    done = make("lint", python, cwd=moved)
    assert done.returncode == 0, done.stderr
    assert "--editable" in (moved / "log").read_text()


def test_make_train_passes_ranks_and_arguments(fake_checkout: Path) -> None:
    python = f"PYTHON={fake_checkout.parent / 'a python'}"
    done = make("train", python, "RANKS=3", "ARGS=--rounds 2", cwd=fake_checkout)
    assert done.returncode == 0, done.stderr
    last = (fake_checkout / "log").read_text().splitlines()[-1]
    assert last == "-n 3 .venv/bin/python -m fedcomloc_mpi.train --rounds 2"


def test_make_refuses_an_old_python(fake_checkout: Path) -> None:
    old = fake_checkout.parent / "old python"
    old.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "import sys; sys.version_info = (3, 9); $2"\n')
    old.chmod(0o755)
    done = make("lint", f"PYTHON={old}", cwd=fake_checkout)
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr
    assert not (fake_checkout / ".venv/.installed").exists()
