"""A study as a TOML file: named parts, in each named configurations, each run with several seeds.

    [options]                       # of every run
    local_steps = "geometric"

    [fedmnist]                      # a part
    title = "FedMNIST"
    seeds = [0, 1, 2]
    options = { dataset = "mnist", rounds = 500 }
    [fedmnist.runs]                 # name = options, as flags of fedcomloc_mpi.train with "_" inside
    "Com, density 0.1" = { algorithm = "fedcomloc-com", density = 0.1, lr = 0.05 }

`optional = true` marks a part that runs only when it is asked for by name.
"""

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.jobs import flags
from fedcomloc_mpi.config import make_config
from fedcomloc_mpi.errors import UserError

_PART_KEYS = {"title", "seeds", "options", "runs", "optional"}


@dataclass(frozen=True)
class Cell:
    """One run: a configuration of a part with one seed. options: for fedcomloc_mpi.train, seed included."""

    part: str
    name: str
    seed: int
    options: Mapping[str, Any]

    @property
    def shown(self) -> str:
        """The options as command-line arguments, by which results are found again."""
        return " ".join(flags(self.options))

    @property
    def folder(self) -> Path:
        """Where the run goes, below a folder for all of them."""
        name = re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-")
        return Path(self.part, f"{name}-seed{self.seed}")

    @property
    def curve(self) -> Path:
        """Where its curve goes, below a folder for all of them."""
        return Path(f"{self.folder}.csv")


@dataclass(frozen=True)
class Part:
    """Configurations that belong together; runs: options by name, without the seed."""

    name: str
    title: str
    seeds: tuple[int, ...]
    optional: bool
    runs: Mapping[str, Mapping[str, Any]]

    def cells(self) -> Iterator[Cell]:
        """Yield every run of the part, seed by seed."""
        for seed in self.seeds:
            for name, options in self.runs.items():
                yield Cell(self.name, name, seed, {**options, "seed": seed})


def read_grid(path: Path, rounds: int | None = None, seeds: Collection[int] | None = None) -> dict[str, Part]:
    """Return the parts of a study by name; every configuration has passed the checks of fedcomloc_mpi.train.

    rounds: of every run, instead of the file's. seeds: leave out all others.

    Raises UserError: an unreadable file, a key that a part does not have, an option that does not exist.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}") from None
    common = table.pop("options", {})
    parts = {}
    for name, values in table.items():
        part = _part(name, values, common, path, {} if rounds is None else {"rounds": rounds})
        kept = tuple(seed for seed in part.seeds if seeds is None or seed in seeds)
        parts[name] = replace(part, seeds=kept)
    return parts


def _part(name: str, values: Any, common: Mapping[str, Any], path: Path, last: Mapping[str, Any]) -> Part:
    if not isinstance(values, dict) or not values.keys() <= _PART_KEYS or not values.get("runs"):
        raise UserError(f"{path}: [{name}] must have {', '.join(sorted(_PART_KEYS))} and nothing else")
    seeds = values.get("seeds", [0])
    runs = {
        run: {**common, **values.get("options", {}), **options, **last}
        for run, options in values["runs"].items()
    }
    part = Part(name, values.get("title", name), tuple(seeds), bool(values.get("optional")), runs)
    folders = set()
    for cell in part.cells():
        if cell.folder in folders:
            raise UserError(f"{path}: [{name}] has two runs in a folder {cell.folder}: name them differently")
        folders.add(cell.folder)
        try:
            make_config(**({"data_dir": "."} | dict(cell.options)))
        except UserError as error:
            raise UserError(f"{path}: [{name}] {cell.name!r}: {error}") from None
    return part
