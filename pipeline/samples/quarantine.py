"""Images that cannot be used, set aside once and named once.

In: what the reader or the decoder found wrong. Out: the rows that a stream must skip, and how many there are.
A run goes on without them; nothing is left out silently.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from pipeline.samples.reader import SampleReader, SampleUnreadableError

LOG = logging.getLogger(__name__)


class Quarantine:
    """The rows of one data set that turned out to be unreadable."""

    def __init__(self, reader: SampleReader, rows: Iterable[int] = ()) -> None:
        """`rows` are those that an earlier part of the run set aside."""
        self._reader = reader
        self.rows = frozenset(rows)
        self.reasons: dict[str, str] = {}
        """What is wrong, by key."""

    def __len__(self) -> int:
        """Return the number of images set aside."""
        return len(self.rows)

    def add(self, error: SampleUnreadableError) -> list[int]:
        """Set aside every row the error speaks of, log it if any of them is news, and return the new ones."""
        new = frozenset(error.rows) - self.rows
        if not new:
            return []
        self.rows |= new
        self.reasons |= {self._reader.keys[row]: f"{error.shard}: {error.reason}" for row in new}
        LOG.warning("%s: left out %s (%d images left out so far)", self._reader.name, error, len(self.rows))
        return sorted(new)

    def report(self) -> dict[str, str]:
        """Return what is wrong by key; rows set aside by an earlier part of the run included."""
        known = {self._reader.keys[row]: "set aside before this run was resumed" for row in self.rows}
        return {**{key: known[key] for key in known if key not in self.reasons}, **self.reasons}
