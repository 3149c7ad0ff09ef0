"""The study's grid, and what grids are refused for."""

from pathlib import Path

import pytest

from bench.grid import read_grid
from bench.jobs import ROOT
from bench.paper import select, share, task
from fedcomloc_mpi.errors import UserError

PAPER = ROOT / "bench" / "paper.toml"


def test_the_study_has_what_it_must() -> None:
    parts = read_grid(PAPER)
    cells = list(parts["fedmnist"].cells())
    assert len(cells) == 36
    assert {cell.options["rounds"] for cell in cells} == {500}
    assert {cell.seed for cell in cells} == {0, 1, 2}
    assert {cell.seed for cell in cells[:12]} == {0}  # a whole comparison first, then the next seed
    algorithms = [cell.options["algorithm"] for cell in cells[:12]]
    assert sorted(set(algorithms)) == sorted(
        [
            "fedcomloc-com",
            "fedcomloc-local",
            "fedcomloc-global",
            "fedavg",
            "sparsefedavg",
            "scaffold",
            "feddyn",
        ]
    )
    grid = {(o["density"], o["bits"]) for cell in cells if "bits" in (o := cell.options)}
    assert grid == {(density, bits) for density in (0.1, 0.3, 1.0) for bits in (8, 32)}
    required = [cell for part in parts.values() if not part.optional for cell in part.cells()]
    assert len({cell.folder for cell in required}) == len(required)
    assert select(parts, None, None) == required


def test_tasks_share_all_runs() -> None:
    cells = select(read_grid(PAPER), None, None)
    shares = [share(cells, index, 7) for index in range(7)]
    assert sorted(cell.folder for part in shares for cell in part) == sorted(cell.folder for cell in cells)


class Chosen:
    task: int | None = None
    of: int | None = None


def test_a_slurm_array_is_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = Chosen()
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    assert task(chosen) == (0, 1)  # type: ignore[arg-type]
    for name, value in {"ID": "9", "MIN": "3", "MAX": "11", "STEP": "2"}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    assert task(chosen) == (3, 5)  # type: ignore[arg-type]
    chosen.task, chosen.of = 5, 5
    with pytest.raises(UserError, match="0 to 4"):
        task(chosen)  # type: ignore[arg-type]


def test_a_small_version_has_other_rounds_and_seeds() -> None:
    part = read_grid(PAPER, rounds=40, seeds=[1])["fedmnist"]
    assert {(cell.options["rounds"], cell.seed) for cell in part.cells()} == {(40, 1)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a]\nseeds=[0]", "must have"),
        ("[a]\nrun.x={}\nruns.x={}", "must have"),
        ("[a.runs]\nx={densty=0.1}", "'x'"),
        ("[a.runs]\nx={density=7.0}", "density"),
        ("[a.runs]\n'x y'={}\n'X-Y'={}", "two runs"),
        ("= 3", "grid.toml"),
    ],
)
def test_mistakes_in_a_grid_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        read_grid(path)


def test_unknown_names_are_refused() -> None:
    parts = read_grid(PAPER)
    with pytest.raises(UserError, match="fedmnist"):
        select(parts, ["mnist"], None)
    with pytest.raises(UserError, match="FedAvg"):
        select(parts, ["fedmnist"], ["fedavg"])
