"""Images that cannot be used, set aside once and named once.

In: what the reader or the decoder found wrong. Out: the rows that a stream must not draw, and how many there are.
A run goes on without them; no image is set aside silently.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from pipeline.samples.reader import ImageReader, SampleUnreadableError, UnreadableBatchError

LOG = logging.getLogger(__name__)


class Quarantine:
    """The rows of one data set that turned out to be unreadable."""

    def __init__(self, reader: ImageReader, rows: Iterable[int] = ()) -> None:
        """`rows` are those that an earlier part of the run set aside."""
        self.reader = reader
        self.rows = frozenset(rows)
        self.reasons: dict[str, str] = {}
        """What is wrong, by key."""

    def __len__(self) -> int:
        """Return the number of images set aside."""
        return len(self.rows)

    def add(self, unreadable: UnreadableBatchError) -> dict[int, SampleUnreadableError]:
        """Set aside every row that the errors name, and return the new ones, each with its error.

        Each error that names a new one is logged.
        """
        new: dict[int, SampleUnreadableError] = {}
        for error in unreadable.errors:
            rows = sorted(frozenset(error.rows) - self.rows)
            if rows:
                self.rows |= frozenset(rows)
                self.reasons |= {self.reader.keys[row]: f"{error.shard}: {error.reason}" for row in rows}
                LOG.warning(
                    "%s: set aside %s (%d images set aside so far)", self.reader.name, error, len(self.rows)
                )
                new |= dict.fromkeys(rows, error)
        return new

    def report(self) -> dict[str, str]:
        """Return what is wrong by key; rows set aside by an earlier part of the run included."""
        keys = (self.reader.keys[row] for row in self.rows)
        return dict.fromkeys(keys, "set aside before this run was resumed") | self.reasons
