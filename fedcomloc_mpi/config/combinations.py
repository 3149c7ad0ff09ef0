"""Values that exclude one another."""

from collections.abc import Callable, Mapping

from fedcomloc_mpi.config.methods import METHODS
from fedcomloc_mpi.config.options import Value
from fedcomloc_mpi.config.table import OPTIONS
from fedcomloc_mpi.errors import UserError


def check_combination(values: Mapping[str, Value], where: Callable[[str], str]) -> None:
    """Check what single options cannot know: values that exclude one another.

    `values` has one checked value for each option; `where(name)` names an option in messages. Raises
    UserError.
    """
    algorithm, clients, cohort = str(values["algorithm"]), values["clients"], values["cohort"]
    schedule = values["lr_schedule"]
    assert isinstance(clients, int)
    assert isinstance(cohort, int)
    method = METHODS[algorithm]
    if cohort > clients:
        raise UserError(
            f"{where('cohort')} is {cohort}: it must be at most {where('clients')}, which is {clients}"
        )
    if method.uses_control_variates and cohort < 2:
        raise UserError(
            f"{where('cohort')} is {cohort}: it must be 2 or more, because {algorithm} uses control variates, which "
            "follow the mean of several clients"
        )
    if schedule != "constant" and values["lr_decay_rounds"] is None:
        raise UserError(
            f"{where('lr_schedule')} is {schedule}: it needs --lr-decay-rounds, the rounds of a {schedule}"
        )
    if method.takes_compression:
        _check_lattice(values, where)
        return
    takers = ", ".join(name for name, other in METHODS.items() if other.takes_compression)
    for each in OPTIONS.values():
        if each.neutral is not None and values[each.name] != each.neutral:
            raise UserError(
                f"{where(each.name)} is {values[each.name]}: {algorithm} sends uncompressed float32 and accepts "
                f"only {each.neutral} here; compression is for --algorithm {takers}"
            )


def _check_lattice(values: Mapping[str, Value], where: Callable[[str], str]) -> None:
    """Raise UserError for a shared lattice without quantization, without a reference, or with other scales."""
    if values["lattice"] != "shared":
        return
    quantized = [direction for direction in ("uplink", "downlink") if values[f"{direction}_bits"] != 32]
    if not quantized and values["bits"] == 32:
        raise UserError(
            f"{where('lattice')} is shared, but nothing is quantized: give --bits 1 to 16, or --lattice own"
        )
    if values["quant_norm"] != "max":
        raise UserError(
            f"{where('lattice')} is shared: {where('quant_norm')} must then be max, not {values['quant_norm']}"
        )
    for direction in quantized:
        if values[f"{direction}_reference"] != "on":
            raise UserError(
                f"{where('lattice')} is shared: its steps come from the last broadcast, so "
                f"{where(f'{direction}_reference')} must be on"
            )
