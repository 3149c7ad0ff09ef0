"""From what the user gives to a complete configuration, with the source of every value."""

from collections.abc import Mapping
from dataclasses import dataclass

from fedcomloc_mpi.config.combinations import check_combination
from fedcomloc_mpi.config.datasets import DATASETS
from fedcomloc_mpi.config.methods import METHODS, Method
from fedcomloc_mpi.config.options import Option, Value
from fedcomloc_mpi.config.table import OPTIONS
from fedcomloc_mpi.config.toml import suggestion
from fedcomloc_mpi.config.tree import Config, from_flat, to_flat
from fedcomloc_mpi.errors import UserError


@dataclass(frozen=True)
class Resolved:
    """A configuration, and for each option the source of its value.

    A source is "flag", "file PATH", "default", "dataset default" or "derived" (from other options).
    """

    config: Config
    sources: Mapping[str, str]


def resolve(
    chosen: Mapping[str, Value], base: Mapping[str, Value], chosen_source: str, base_source: str
) -> Resolved:
    """Return the configuration given by two layers of checked values, of which `chosen` wins over `base`.

    The sources name the layers. Raises UserError.
    """
    given = {**_decided_by(base, chosen), **chosen}
    values: dict[str, Value] = {}
    sources: dict[str, str] = {}
    for name, option in OPTIONS.items():
        values[name], sources[name] = _value(option, given)
        if name in chosen:
            sources[name] = chosen_source
        elif name in base and base[name] == values[name]:
            sources[name] = base_source
    check_combination(values, lambda name: _described(name, sources[name]))
    return Resolved(from_flat(values), sources)


def make_config(base: Config | None = None, /, **values: object) -> Config:
    """Return a configuration with the given values by option name: `make_config(dataset="mnist", seed=1)`.

    What is not given comes from `base`, or from the defaults. Raises UserError.
    """
    checked: dict[str, Value] = {}
    for name, value in values.items():
        if name not in OPTIONS:
            raise UserError(f"unknown option {name!r}{suggestion(name)}")
        checked[name] = OPTIONS[name].check(value, name)
    return resolve(checked, to_flat(base) if base else {}, "argument", "base").config


def _decided_by(base: Mapping[str, Value], chosen: Mapping[str, Value]) -> dict[str, Value]:
    """Return what `base` itself decides beside `chosen`.

    Every config.toml holds values for each direction. Those that only repeat what follows from the file's
    general options are left out, so that another --algorithm or --density beside the file acts as it would
    without them; so are those of a direction for which a general option is chosen: a flag wins over the file.
    """
    general = {name: value for name, value in base.items() if OPTIONS[name].follows is None}
    decided = dict(general)
    for name in base.keys() - general.keys():
        option = OPTIONS[name]
        repeats = base[name] == _value(option, general)[0]
        overruled = option.follows in chosen and _applies(option, {**general, **chosen})
        if not repeats and not overruled:
            decided[name] = base[name]
    return decided


def _value(option: Option, given: Mapping[str, Value]) -> tuple[Value, str]:
    """Return the value of an option among the `given` ones, and the rule that it comes from."""
    if option.name in given:
        return given[option.name], "given"
    if option.follows is not None:
        general = OPTIONS[option.follows]
        return (_value(general, given)[0] if _applies(option, given) else option.neutral), "derived"
    if option.by_dataset:
        dataset = str(given.get("dataset", OPTIONS["dataset"].default))
        return getattr(DATASETS[dataset], option.name), "dataset default"
    if option.neutral not in (None, option.default) and not _method(given).takes_compression:
        return option.neutral, "derived"
    return option.default, "default"


def _applies(option: Option, given: Mapping[str, Value]) -> bool:
    """Whether the general option that `option` follows acts on its direction."""
    return option.neutral is None or _method(given).compresses(str(option.direction))


def _method(given: Mapping[str, Value]) -> Method:
    return METHODS[str(given.get("algorithm", OPTIONS["algorithm"].default))]


def _described(name: str, source: str) -> str:
    """Return an option and where its value comes from, to start a message with."""
    if source == "flag":
        return OPTIONS[name].flag
    if source == "argument":
        return name
    return f"{name} in {source.removeprefix('file ')}" if source.startswith("file ") else f"{name} ({source})"
