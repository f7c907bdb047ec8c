"""The figures of a run while it works, as JSON lines.

In: one mapping of plain numbers a logged step. Out: `metrics.jsonl`, cut back to the step on resume so that no
step stands twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from storage import files
from storage.errors import names_location


class MetricsFile:
    """Appends one JSON object a line; a line is on disk as soon as it is written."""

    def __init__(self, path: Path, *, start_step: int) -> None:
        self.path = path
        _drop_steps_after(path, start_step)
        files.make_folder(str(path.parent))
        self._file = path.open("a", encoding="utf-8")

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one row."""
        with names_location(str(self.path)):
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with names_location(str(self.path)):  # it writes again what a full disk did not take
            self._file.close()


def _drop_steps_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    before = files.read_bytes(str(path)).decode("utf-8", errors="replace")
    kept = [
        line
        for line in before.splitlines()
        if (row := _parsed(line)) is not None and row.get("step", 0) <= step
    ]
    text = "".join(f"{line}\n" for line in kept)
    if text != before:  # a line without its end would be joined with the next
        files.write_atomic(str(path), text.encode())


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:  # the last line of a killed run may be cut short
        return None
    return row if isinstance(row, dict) else None
