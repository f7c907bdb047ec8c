"""`skipped.json`: what a data set does not hold of its source, or does not train on, and why.

In: the images that are left out and the problems of annotations, as `mixpl shard` found them. Out: the file; its
lines, as `mixpl verify` prints them again. The words are those of `storage.problems`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from storage import files
from storage.dataset.dataset import REWRITE
from storage.errors import StoreError
from storage.json_head import HeadFormat
from storage.problems import Problems, counted

SKIPPED_FILE = "skipped.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class SkippedReport:
    """What `skipped.json` says."""

    num_skipped: int
    images: list[dict[str, Any]]
    """image_id, file_name and reason of each image that is not in the shards."""
    annotations: dict[str, dict[str, Any]]
    hidden_truth: dict[str, dict[str, Any]]
    """Problems of the annotations and of the hidden truth, by kind."""


SKIPPED = HeadFormat(kind=SkippedReport, what="the report of what was skipped", remedy=REWRITE)


def set_apart(root: str) -> list[str]:
    """Return what `skipped.json` counts, one line a kind; none where there is no such file or it is damaged."""
    try:
        report = SKIPPED.read(files.join(root, SKIPPED_FILE))
    except StoreError:
        return []
    if report is None:
        return []
    images = Problems()
    for entry in report.images:
        images.add(f"image left out ({entry.get('reason')})", str(entry.get("file_name")))
    kinds = [*report.annotations.items(), *report.hidden_truth.items()]
    return [*images.lines(), *(_line(kind, entry) for kind, entry in kinds)]


def _line(kind: str, entry: Mapping[str, Any]) -> str:
    return counted(kind, int(entry.get("count", 0)), list(map(str, entry.get("examples", []))))
