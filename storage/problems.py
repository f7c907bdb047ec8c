"""What was found in a source of images and boxes that its owner should know: counted, with the first few named.

In: one call for each thing that was dropped, clipped or left out (a problem), and for each that was set apart or
read in another way than it stands there (a remark). Out: counts by kind, examples, printable lines, a JSON value.
Nothing is set apart in silence. The words, in messages and in code:

    left out      an image that is not in the data set
    dropped       an annotation, or a line of one, that has no box in the data set
    kept apart    an object whose box lies where no training reads it; truth in a folder of its own
    set apart     any of the three: what `skipped.json` holds, `mixpl shard` prints and `mixpl verify` repeats
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

MAX_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Problems:
    """Counts by kind and the first examples of each. Kinds say what was done: `zero-area box (dropped)`."""

    counts: dict[str, int] = field(default_factory=dict)
    """Of what is wrong in the source; `--strict` refuses it."""
    remarks: dict[str, int] = field(default_factory=dict)
    """Of what is right and yet worth knowing: `crowd region (kept apart, not trained on)`."""
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, example: str) -> None:
        """Count one wrong thing of this kind."""
        self._count(self.counts, kind, [0], lambda _: example)

    def remark(self, kind: str, example: str) -> None:
        """Count one thing of this kind that is worth knowing."""
        self._count(self.remarks, kind, [0], lambda _: example)

    def add_rows(self, kind: str, rows: npt.NDArray[np.int64], describe: Callable[[int], str]) -> None:
        """Count one wrong thing of this kind for each row; only those that become examples are described."""
        self._count(self.counts, kind, rows, describe)

    def remark_rows(self, kind: str, rows: npt.NDArray[np.int64], describe: Callable[[int], str]) -> None:
        """Count one thing of this kind that is worth knowing for each row."""
        self._count(self.remarks, kind, rows, describe)

    def _count(
        self,
        counts: dict[str, int],
        kind: str,
        rows: Sequence[int] | npt.NDArray[np.int64],
        describe: Callable[[int], str],
    ) -> None:
        if len(rows):
            counts[kind] = counts.get(kind, 0) + len(rows)
            named = self.examples.setdefault(kind, [])
            named += [describe(int(row)) for row in rows[: MAX_EXAMPLES - len(named)]]

    def __bool__(self) -> bool:
        """Return whether anything is wrong; remarks are not."""
        return bool(self.counts)

    def lines(self) -> list[str]:
        """Return one line a kind: count, kind, examples."""
        return [counted(kind, count, self.examples[kind]) for kind, count in self._in_order()]

    def as_json(self) -> dict[str, dict[str, object]]:
        """Return the same as plain values."""
        return {kind: {"count": count, "examples": self.examples[kind]} for kind, count in self._in_order()}

    def _in_order(self) -> list[tuple[str, int]]:
        return [*sorted(self.counts.items()), *sorted(self.remarks.items())]


def counted(kind: str, count: int, examples: Sequence[str]) -> str:
    """Return one line: count, kind, examples, and how many more there are."""
    more = f"; and {count - len(examples):,} more" if count > len(examples) else ""
    return f"{count:,} x {kind}: {'; '.join(examples)}{more}"
