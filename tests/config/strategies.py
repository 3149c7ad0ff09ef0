"""Random values for every option, made from the table of options itself."""

import math

from hypothesis import strategies as st

from fedcomloc_mpi.config.methods import METHODS
from fedcomloc_mpi.config.options import Interval, Option
from fedcomloc_mpi.config.table import OPTIONS

# Text that the command line, TOML and a file name can all hold: no NUL, no lone surrogates.
paths = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30)


def _numbers(option, interval: Interval):
    if option.kind is int:
        return st.integers(int(interval.low), int(interval.high))
    high = None if math.isinf(interval.high) else interval.high
    return st.floats(interval.low, high, exclude_min=interval.above, allow_nan=False, allow_infinity=False)


def allowed(option: Option):
    """Values that the option accepts, not None."""
    if option.kind is bool:
        return st.booleans()
    if option.several:
        return st.lists(st.sampled_from(sorted(option.choices or ())), min_size=1, max_size=4).map(",".join)
    if option.choices is not None:
        return st.sampled_from(sorted(option.choices))
    if option.kind is str:
        return paths
    return st.one_of([_numbers(option, interval) for interval in option.bounds])


@st.composite
def chosen_values(draw, without=("clients", "cohort", "resume", "allow_config_change")):
    """Some options, with values that go together. The cohort fits the clients when both are drawn.

    resume and what goes with it are left out: its value is the folder of a run.
    """
    names = draw(st.sets(st.sampled_from([name for name in OPTIONS if name not in without])))
    algorithm = draw(allowed(OPTIONS["algorithm"]))
    values = {"algorithm": algorithm} if draw(st.booleans()) or algorithm != "fedcomloc-com" else {}
    for name in sorted(names - {"algorithm"}):
        if OPTIONS[name].neutral is not None and not METHODS[algorithm].takes_compression:
            values[name] = OPTIONS[name].neutral
        else:
            values[name] = draw(allowed(OPTIONS[name]))
    if values.get("lattice") == "shared":
        values |= {"bits": 8, "uplink_bits": 8, "quant_norm": "max"}
        values |= dict.fromkeys(("reference", "uplink_reference", "downlink_reference"), "on")
    if values.get("lr_schedule", "constant") != "constant":
        values["lr_decay_rounds"] = draw(allowed(OPTIONS["lr_decay_rounds"]))
    if draw(st.booleans()):
        values["clients"] = draw(st.integers(2, 2**31 - 1))
        values["cohort"] = draw(st.integers(2, values["clients"]))
    return values


def as_flags(values) -> list[str]:
    """The command line that gives these values."""
    arguments = []
    for name, value in values.items():
        flag = OPTIONS[name].flag
        if isinstance(value, bool):
            arguments.append(flag if value else "--no-" + flag[2:])
        elif isinstance(value, str):
            arguments.append(f"{flag}={value}")
        else:
            arguments += [flag, repr(value)]
    return arguments
