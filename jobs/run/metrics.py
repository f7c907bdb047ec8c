"""What a run says of itself while it works: JSON lines on disk, a progress bar for a person.

In: one mapping of plain numbers a logged step. Out: `metrics.jsonl`, cut back to the step on resume so that no
step stands twice, and a bar with the same figures.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from storage import files


class MetricsFile:
    """Appends one JSON object a line; a line is on disk as soon as it is written."""

    def __init__(self, path: Path, *, start_step: int) -> None:
        self.path = path
        _drop_steps_after(path, start_step)
        files.make_folder(str(path.parent))
        self._file = path.open("a", encoding="utf-8")

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one row."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _drop_steps_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    before = path.read_text(encoding="utf-8", errors="replace")
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


class Progress:
    """A bar on a terminal; elsewhere one line for every `report`."""

    def __init__(self, name: str, *, total: int, start: int = 0, unit: str = "step") -> None:
        self._name = name
        self._bar = tqdm(
            desc=name,
            total=total,
            initial=start,
            unit=unit,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )
        self._done, self._total = start, total

    def advance(self, count: int = 1) -> None:
        """Count finished work."""
        self._done += count
        self._bar.update(count)

    def report(self, text: str) -> None:
        """Show the latest figures."""
        if self._bar.disable:
            print(f"{self._name} {self._done}/{self._total}  {text}", file=sys.stderr, flush=True)
        else:
            self._bar.set_postfix_str(text)

    def say(self, text: str) -> None:
        """Print a line that stays."""
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
