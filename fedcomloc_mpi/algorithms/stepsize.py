"""Schedules of the stepsize: the round's gamma as a pure function of its number."""

import math

SMALLEST_SHARE = 1e-6  # of the initial stepsize: control variates are divided by the stepsize


def stepsize(schedule: str, initial: float, round: int, decay_rounds: int | None, factor: float) -> float:
    """Return the stepsize of round number `round`, from 1; `initial` is that of the first.

    - constant: always `initial`.
    - step: times `factor` after every `decay_rounds` rounds.
    - cosine: from `initial` down to `factor` x `initial` along half a cosine of `decay_rounds` rounds, then constant.

    It does not depend on how many rounds are run, so a run can be prolonged. `factor` is above 0 and at most 1; the
    result is never below a millionth of `initial`. Raises ValueError for an unknown schedule.
    """
    if schedule == "constant":
        return initial
    if decay_rounds is None:
        raise ValueError(f"the schedule {schedule!r} needs a number of rounds")
    if schedule == "step":
        return max(float(initial * factor ** ((round - 1) // decay_rounds)), SMALLEST_SHARE * initial)
    if schedule == "cosine":
        share = min((round - 1) / decay_rounds, 1.0)
        decayed = initial * (factor + (1.0 - factor) * 0.5 * (1.0 + math.cos(math.pi * share)))
        return max(decayed, SMALLEST_SHARE * initial)
    raise ValueError(f"unknown schedule {schedule!r}")
