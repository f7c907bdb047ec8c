"""What a check of data at rest found wrong, each thing with its file, what was expected and what came.

In: findings, in any number. Out: `Findings`: how many of each kind, the first of them named, and what to do about
a kind. Guaranteed: one damage is one finding, told by the first check that it fails; memory is bounded by
`MAX_KEPT` findings of a kind, however many there are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from storage.dataset.dataset import REWRITE
from storage.rounds.round_thresholds import RELABEL

MAX_KEPT = 10_000
"""Findings of one kind that are kept with their names; all are counted."""

COPY = "copy the file again from where it is whole, or " + REWRITE
DELETE_TABLE = f"delete that table, where there is one; {RELABEL}"

REMEDIES = {
    "unreadable dataset.json": COPY,
    "unfinished data set": "run the same `mixpl shard` again, it continues",
    "unreadable image table": COPY,
    "key in two rows": REWRITE,
    "rows out of order": REWRITE,
    "shard that dataset.json does not list": REWRITE,
    "count that dataset.json does not say": REWRITE,
    "hash that dataset.json does not say": REWRITE,
    "missing shard": COPY,
    "unreadable shard": "see that the file may be read, then verify again",
    "truncated shard": COPY,
    "damaged tar header": COPY,
    "missing image": COPY,
    "missing KEY.json": COPY,
    "image without a row": COPY,
    "stray member": COPY,
    "member twice": COPY,
    "foreign bytes": COPY,
    "wrong byte range": f"copy images.parquet again from where it is whole, or {REWRITE}",
    "changed bytes": COPY,
    "undecodable image": f"leave the image out, or repair it; {REWRITE}",
    "wrong size": REWRITE,
    "wrong extension": REWRITE,
    "KEY.json that differs": COPY,
    "KEY.json with other boxes": COPY,
    "missing truth table": COPY,
    "unreadable truth table": COPY,
    "truth rows that differ": COPY,
    "box outside its image": f"correct the annotations; {REWRITE}",
    "unknown class": f"correct the annotations; {REWRITE}",
    "stray shard": "no reader sees it: delete it, or move it to the set it belongs to",
    "stray table": "no reader sees it: delete it, or move it to the set it belongs to",
    "leftover of a killed writer": "no reader sees it: delete it",
    "unreadable round": f"copy the file again from where it is whole, or {RELABEL}",
    "missing label table": DELETE_TABLE,
    "unreadable label table": DELETE_TABLE,
    "unsound labels": DELETE_TABLE,
    "labels of other images": DELETE_TABLE,
    "count that round.json does not say": DELETE_TABLE,
}
"""Every kind of finding, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    kind: str
    """One of `REMEDIES`."""
    file: str
    """Its name, below the folder that was checked."""
    expected: str
    got: str
    key: str | None = field(default=None, kw_only=True)
    """The image, where it is one."""

    def __post_init__(self) -> None:
        """Hold every kind to the list: what has no remedy cannot be found."""
        assert self.kind in REMEDIES, self.kind

    def __str__(self) -> str:
        """Return file, key, what was expected and what came."""
        where = self.file if self.key is None else f"{self.file} {self.key}"
        return f"{where}: expected {self.expected}, got {self.got}"

    def as_json(self) -> dict[str, str | None]:
        """Return the finding as plain values, its kind left out."""
        return {"place": self.file, "key": self.key, "expected": self.expected, "got": self.got}


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """Findings by kind, in the order in which the kinds were met."""

    counts: dict[str, int] = field(default_factory=dict)
    kept: dict[str, list[Finding]] = field(default_factory=dict)

    def add(self, *findings: Finding) -> None:
        """Count findings and keep the first of each kind."""
        for finding in findings:
            self.counts[finding.kind] = self.counts.get(finding.kind, 0) + 1
            kept = self.kept.setdefault(finding.kind, [])
            if len(kept) < MAX_KEPT:
                kept.append(finding)

    def __bool__(self) -> bool:
        """Return whether anything is wrong."""
        return bool(self.counts)

    def total(self) -> int:
        """Return how many things are wrong."""
        return sum(self.counts.values())

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values, for machines."""
        return {
            kind: {
                "count": count,
                "what_to_do": REMEDIES[kind],
                "findings": [finding.as_json() for finding in self.kept[kind]],
            }
            for kind, count in self.counts.items()
        }
