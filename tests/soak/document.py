"""Sections of docs/results/reliability.md, each written by the program that finds out what stands in it."""

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def put_section(path: Path, heading: str, text: str) -> None:
    """Put `text` under `heading`, a line that begins with "# ", in place of what stands there; add it if it is new."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    sections = [section.rstrip("\n") for section in re.split(r"^(?=# )", before, flags=re.MULTILINE)]
    new = f"{heading}\n\n{text.strip()}"
    kept = [new if section.startswith(f"{heading}\n") else section for section in sections if section]
    if new not in kept:
        kept.append(new)
    path.write_text("\n\n".join(kept) + "\n", encoding="utf-8")


def commit() -> str:
    """Return the name of the checkout's commit."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def today() -> str:
    """Return the date, UTC."""
    return f"{datetime.now(UTC):%Y-%m-%d}"
