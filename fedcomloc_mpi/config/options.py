"""One option: a leaf of the configuration tree, with all that flags, TOML, checks, help and docs need to
know.

The fields of the dataclasses in tree.py are declared with `option(...)`; nothing about an option is written
twice.
"""

import dataclasses
import difflib
import math
import numbers
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fedcomloc_mpi.errors import UserError

Value = bool | int | float | str | None

_METADATA_KEY = "fedcomloc_mpi.option"


@dataclass(frozen=True)
class Interval:
    """The numbers from `low` to `high`, both included; `above` leaves `low` out; `high` may be infinite."""

    low: float
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return (self.low < value if self.above else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        low, high = _number(self.low), _number(self.high)
        if self.low == self.high:
            return low
        if self.above:
            return f"above {low} and " + ("finite" if math.isinf(self.high) else f"at most {high}")
        return f"{low} or more" if math.isinf(self.high) else f"{low} to {high}"


@dataclass(frozen=True)
class Option:
    """What is known about one option.

    `name` is the TOML key; `kind` is bool, int, float or str, `optional` says that None (not set) is allowed
    too. Exactly one of these decides the value that is used where the user gives none: `default`; the data
    set (`by_dataset`); another option (`follows`: that option's value, unless `neutral` is set and the
    algorithm does not compress `direction`: then `neutral`). `neutral` is the value that means "nothing is
    lost": the only one that algorithms without compression accept. `several` says that a text is a list of choices,
    separated by commas. `unset` says in words what happens when an optional value is None. `saved` says whether
    config.toml records the option. `may_change` says that a run that is resumed may take another value without further
    ado, for its results stay the same. `also` lists names that other programs use for the same thing, for suggestions.
    """

    name: str
    kind: type
    optional: bool
    help: str
    default: Value = None
    by_dataset: bool = False
    follows: str | None = None
    direction: str | None = None
    neutral: Value = None
    bounds: tuple[Interval, ...] = ()
    choices: Collection[str] | None = None
    several: bool = False
    metavar: str = ""
    unset: str = ""
    saved: bool = True
    may_change: bool = False
    also: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The option on the command line, for example --batch-size."""
        return "--" + self.name.replace("_", "-")

    @property
    def requirement(self) -> str:
        """What a value must be, in words that complete "it must be ..."."""
        if self.kind is bool:
            return "true or false"
        if self.choices is not None:
            choices = list(self.choices)
            if self.several:
                return f"a list, separated by commas, of {', '.join(choices)}"
            return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"
        if self.kind is str:
            return "a path: not empty, valid Unicode, no NUL character"
        noun = "an integer" if self.kind is int else "a number"
        return f"{noun}, {' or '.join(str(interval) for interval in self.bounds)}"

    def parse(self, text: str, where: str) -> Value:
        """Return the checked value that `text` on the command line stands for.

        `where` names the place in error messages. Raises UserError.
        """
        if self.kind is str:
            return self.check(text, where)
        try:
            value: Value = self.kind(text)
        except ValueError:
            raise self._refusal(text, where) from None
        return self.check(value, where)

    def check(self, value: object, where: str) -> Value:
        """Return `value` as exactly bool, int, float, str or None if it is allowed; `where` names its place.

        An integer is accepted where a float is due; a bool is never accepted for a number, nor text for
        either. Raises UserError.
        """
        if value is None and self.optional:
            return None
        checked: Value = None
        if self.kind is bool:
            checked = value if isinstance(value, bool) else None
        elif self.kind is str:
            checked = str(value) if isinstance(value, str) and self._text_allowed(value) else None
        elif isinstance(value, numbers.Real) and not isinstance(value, bool):
            checked = self._check_number(value)
        if checked is None:
            raise self._refusal(value, where)
        return checked

    def _check_number(self, value: numbers.Real) -> int | float | None:
        number: int | float
        if self.kind is int:
            if not isinstance(value, numbers.Integral):
                return None
            number = int(value)
        else:
            try:
                number = float(value)
            except OverflowError:  # an integer beyond the largest float
                return None
            if not math.isfinite(number):
                return None
        return number if any(number in interval for interval in self.bounds) else None

    def _text_allowed(self, text: str) -> bool:
        if self.choices is not None:
            return all(part in self.choices for part in self._parts(text))
        # A lone surrogate is a byte of the command line that is not UTF-8: config.toml could not hold it.
        return (
            text != ""
            and "\0" not in text
            and not any("\ud800" <= character <= "\udfff" for character in text)
        )

    def _parts(self, text: str) -> list[str]:
        return text.split(",") if self.several else [text]

    def _refusal(self, value: object, where: str) -> UserError:
        suggestion = ""
        if self.choices is not None and isinstance(value, str):
            unknown = [part for part in self._parts(value) if part not in self.choices]
            if unknown and (near := nearest(unknown[0], self.choices)):
                suggestion = f" (did you mean {near}?)"
        return UserError(f"{where} is {shown(value)}: it must be {self.requirement}{suggestion}")


def option(
    default: Value | dataclasses._MISSING_TYPE = dataclasses.MISSING,
    *,
    help: str,
    by_dataset: bool = False,
    follows: str | None = None,
    **details: Any,
) -> Any:
    """Declare a dataclass field that is an option; the keywords are the fields of `Option`.

    A field without `default` is filled when a configuration is resolved: from the data set or from another
    option.
    """
    if sum((default is not dataclasses.MISSING, by_dataset, follows is not None)) != 1:
        raise TypeError("an option needs exactly one of default, by_dataset and follows")
    details |= {"help": help, "by_dataset": by_dataset, "follows": follows}
    if isinstance(default, dataclasses._MISSING_TYPE):
        return dataclasses.field(metadata={_METADATA_KEY: details})
    return dataclasses.field(default=default, metadata={_METADATA_KEY: details | {"default": default}})


def options_of(group: type) -> tuple[Option, ...]:
    """Return the options of a dataclass whose fields are declared with `option`, in order of declaration."""
    hints = typing.get_type_hints(group)
    return tuple(
        _from_field(field.name, hints[field.name], field.metadata[_METADATA_KEY])
        for field in dataclasses.fields(group)
    )


def _from_field(name: str, annotation: Any, details: Mapping[str, Any]) -> Option:
    alternatives = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    (kind,) = (alternative for alternative in alternatives if alternative is not types.NoneType)
    return Option(name=name, kind=kind, optional=len(alternatives) > 1, **details)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a mistyped `name` most probably stands for, or None if none is near.

    Case, and "-" against "_", make no difference. A known name that starts with `name` comes before a similar
    one.
    """
    folded = {candidate.lower().replace("_", "-"): candidate for candidate in known}
    wanted = name.lower().replace("_", "-")
    starting = [candidate for candidate in folded if wanted and candidate.startswith(wanted)]
    similar = starting or difflib.get_close_matches(wanted, folded, n=1, cutoff=0.6)
    return folded[min(similar, key=len)] if similar else None


def shown(value: object) -> str:
    """Return a value as one short printable line for a message."""
    if isinstance(value, int) and value.bit_length() > 200:  # Python refuses to print very long ones
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 80 else text[:60] + " ... " + text[-10:]


def printable(text: str) -> str:
    """Return `text` (a path, say) as it is if it prints on one line, else escaped and quoted."""
    return text if text.isprintable() else repr(text)


def _number(value: float) -> str:
    if isinstance(value, int) and value > 10**6 and (value + 1).bit_count() == 1:
        return f"2^{value.bit_length()}-1"
    return f"{value:g}" if isinstance(value, float) else str(value)
