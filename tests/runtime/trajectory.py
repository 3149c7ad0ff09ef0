"""The first rounds of a training, to compare with those of an older version.

After a change that is meant to change them, with the folder that tests.runtime.training_job left:

    python -m tests.runtime.trajectory FOLDER/NAME >tests/runtime/golden/NAME.json
"""

import json
import sys
from pathlib import Path
from typing import Any

EXACT = ("round", "local_steps", "cohort")
CLOSE = ("train_loss", "test_loss", "test_accuracy", "test_accuracy_compressed")
BYTES = ("paper_bytes", "bound_bytes")


def rounds_of(folder: Path) -> list[dict[str, Any]]:
    """Return the records of a run."""
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


def trajectory(folder: Path) -> list[dict[str, Any]]:
    """Return what does not depend on machine, time or ranks, and of bytes only what no better coder changes."""
    return [
        {name: record[name] for name in EXACT + CLOSE}
        | {side: {kind: record[side][kind] for kind in BYTES} for side in ("uplink", "downlink")}
        for record in rounds_of(folder)
    ]


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(record) for record in trajectory(Path(sys.argv[1])))
    print(f"[\n{lines}\n]")
