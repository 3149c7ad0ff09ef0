"""torchvision can be imported beside any build of torch, and no error but the known one is hidden."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def run(code: str, folder: Path | None = None) -> str:
    """Run `code` in a fresh interpreter, `folder` first on its path; return what it prints."""
    path = f"import sys; sys.path[:0] = {[str(p) for p in (folder, REPOSITORY) if p]!r}\n"
    done = subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def fake_torchvision(folder: Path, body: str) -> Path:
    (folder / "torchvision.py").write_text(body)
    return folder


def test_datasets_transforms_and_models_work() -> None:
    code = """
from fedcomloc_mpi.data import import_torchvision
assert import_torchvision() is import_torchvision() is sys.modules["torchvision"]
import torch, torchvision
from torchvision import datasets, models, transforms
image, _ = datasets.FakeData(size=1, image_size=(3, 32, 32), transform=transforms.ToTensor())[0]
print(tuple(models.resnet18(num_classes=10).eval()(image[None]).shape))
"""
    assert run(code) == "(1, 10)"


def test_a_working_torchvision_is_left_alone(tmp_path: Path) -> None:
    code = """
from fedcomloc_mpi.data import torchvision_import
module = torchvision_import.import_torchvision()
print(module.answer, torchvision_import._declared_operators, "torch" in sys.modules)
"""
    assert run(code, fake_torchvision(tmp_path, "answer = 42")) == "42 None False"


def test_other_errors_are_raised_as_they_are(tmp_path: Path) -> None:
    code = """
from fedcomloc_mpi.data import import_torchvision
try:
    import_torchvision()
except Exception as error:
    print(type(error).__name__, error)
"""
    for error in ("RuntimeError('operator torchvision::roi_align does not exist')", "OSError('libc10.so')"):
        kind, message = error[:-2].split("('")
        assert run(code, fake_torchvision(tmp_path, f"raise {error}")) == f"{kind} {message}"


def test_the_error_is_handled_once(tmp_path: Path) -> None:
    code = """
from fedcomloc_mpi.data import import_torchvision
for _ in range(2):
    try:
        import_torchvision()
    except RuntimeError as error:
        print(error)
"""
    message = "operator torchvision::nms does not exist"
    assert (
        run(code, fake_torchvision(tmp_path, f"raise RuntimeError({message!r})")) == f"{message}\n{message}"
    )
