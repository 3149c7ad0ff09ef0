"""The short table at the end of a run."""

from collections.abc import Mapping
from typing import Any

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")
_SMALLEST_SHARE = 0.01


def end_table(summary: Mapping[str, Any], title: str) -> str:
    """Return the table for what Summary.to_dict gives (or summary.json holds), without a newline at the end.

    `title` says what ran, such as "fedcomloc-com on digits". Bytes are payload bytes.
    """
    seconds = dict(summary["seconds"])
    total, startup, clients = seconds.pop("total"), seconds.pop("startup", None), seconds.pop("clients")
    rows = [("", "last", "best", "")]
    rows.append(_accuracy_row("accuracy", summary, ""))
    if summary["last_accuracy_compressed"] is not None:
        rows.append(_accuracy_row("  compressed model", summary, "_compressed"))
    rows += [("", "", "", ""), ("", "sent", "dense", "")]
    rows += [_bytes_row("bytes up", summary["uplink"]), _bytes_row("bytes down", summary["downlink"])]
    per_round = f"{total / summary['rounds']:.3f} per round" if summary["rounds"] else ""
    rows += [("", "", "", ""), ("seconds", f"{total:,.1f}", "100 %", per_round)]
    rows += [_seconds_row(part, value, total) for part, value in _largest_first(seconds, total)]

    lines = [f"{title}: {summary['status']} after {summary['rounds']:,} {_rounds(summary['rounds'])}"]
    if summary["message"]:
        lines.append(summary["message"])
    for lost in summary.get("lost_ranks", ()):
        lines.append(f"rank {lost['rank']} was lost in round {lost['round']:,}, the others went on")
    lines += ["", *_aligned(rows)]
    slowest = ", ".join(
        f"{part} {value['max']:,.1f}" for part, value in clients.items() if value["max"] >= 0.05
    )
    if slowest:
        lines.append(f"clients, the slowest rank in each: {slowest}")
    if startup is not None:
        lines.append(f"start-up: {startup:,.1f} s before the first round")
    if summary["target_accuracy"] is not None:
        lines.append(_target_line(summary["target_accuracy"], summary["to_target"]))
    return "\n".join(lines)


def human_bytes(count: float) -> str:
    """Return `count` bytes in decimal units with three or four significant digits, such as "48.3 MB"."""
    for unit in _UNITS[:-1]:
        if round(count, 1) < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} {_UNITS[-1]}"


def _accuracy_row(label: str, summary: Mapping[str, Any], suffix: str) -> tuple[str, str, str, str]:
    last, best = summary[f"last_accuracy{suffix}"], summary[f"best_accuracy{suffix}"]
    if last is None:
        return label, "-", "-", ""
    return label, f"{last:.4f}", f"{best:.4f}", f"in round {summary[f'best_accuracy{suffix}_round']:,}"


def _bytes_row(label: str, totals: Mapping[str, Any]) -> tuple[str, str, str, str]:
    sent, dense = totals.get("payload_bytes", 0), totals.get("dense_bytes", 0)
    share = f"{100 * sent / dense:.1f} % of dense" if dense else ""
    return label, human_bytes(sent), human_bytes(dense), share


def _seconds_row(part: str, value: float, total: float) -> tuple[str, str, str, str]:
    return f"  {part}", f"{value:,.1f}", f"{100 * value / total:.0f} %", ""


def _largest_first(seconds: Mapping[str, float], total: float) -> list[tuple[str, float]]:
    """Parts of at least 1 %, largest first, then all else as "other", so that the rows still add up."""
    shown = {
        part: value
        for part, value in seconds.items()
        if part != "other" and value > 0 and value >= _SMALLEST_SHARE * total
    }
    other = sum(value for part, value in seconds.items() if part not in shown)
    parts = sorted(shown.items(), key=lambda item: -item[1])
    return [*parts, ("other", other)] if other > 0 else parts


def _target_line(target: float, reached: Mapping[str, Any] | None) -> str:
    if reached is None:
        return f"target accuracy {target:g}: not reached"
    return (
        f"target accuracy {target:g}: {reached['rounds']:,} {_rounds(reached['rounds'])}, "
        f"{human_bytes(reached['uplink_bytes'])} up, {human_bytes(reached['downlink_bytes'])} down, "
        f"{reached['seconds']:,.1f} s"
    )


def _rounds(count: int) -> str:
    return "round" if count == 1 else "rounds"


def _aligned(rows: list[tuple[str, str, str, str]]) -> list[str]:
    """First and last column to the left, the figures between them to the right."""
    label, first, second = (max(len(row[column]) for row in rows) for column in range(3))
    return [f"{a:<{label}}  {b:>{first}}  {c:>{second}}  {d}".rstrip() for a, b, c, d in rows]
