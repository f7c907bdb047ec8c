"""What was found wrong in a source of images and boxes: counted, with the first few named.

In: one call for each thing that was dropped, clipped or left out. Out: counts by kind, examples, printable
lines, a JSON value. A sample that is skipped is never silent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

MAX_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Problems:
    """Counts by kind and the first examples of each. Kinds say what was done: `zero-area box (dropped)`."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, example: str) -> None:
        """Count one thing of this kind."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        named = self.examples.setdefault(kind, [])
        if len(named) < MAX_EXAMPLES:
            named.append(example)

    def add_rows(self, kind: str, rows: npt.NDArray[np.int64], describe: Callable[[int], str]) -> None:
        """Count one thing of this kind for each row; only those that become examples are described."""
        if len(rows):
            self.counts[kind] = self.counts.get(kind, 0) + len(rows)
            named = self.examples.setdefault(kind, [])
            named += [describe(int(row)) for row in rows[: MAX_EXAMPLES - len(named)]]

    def __bool__(self) -> bool:
        """Return whether there is any problem at all."""
        return bool(self.counts)

    def lines(self) -> list[str]:
        """Return one line a kind: count, kind, examples."""
        return [
            f"{count:,} x {kind}: {'; '.join(self.examples[kind])}"
            + (f"; and {count - MAX_EXAMPLES:,} more" if count > MAX_EXAMPLES else "")
            for kind, count in sorted(self.counts.items())
        ]

    def as_json(self) -> dict[str, dict[str, object]]:
        """Return the same as plain values."""
        return {
            kind: {"count": count, "examples": self.examples[kind]}
            for kind, count in sorted(self.counts.items())
        }
