"""One shard held against its rows of the image table and against its truth: what is wrong with it.

In: a `ShardTask`. Out: a `ShardReport`. The tar is read by its own headers; gaps in it, samples without a row and
the order of the rows are told here, each sample in `storage.verify.check_sample`, the tables of the shard in
`storage.verify.check_truth`. `quick` reads headers, descriptions and tables only. Memory: one image at a time; of a
remote shard all of it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO

import pyarrow as pa

from storage import files
from storage.dataset.dataset import shard_stem
from storage.regular import open_regular
from storage.verify.check_sample import Row, Samples, check_sample, headers, sort_members
from storage.verify.check_truth import TruthTask, check_truth
from storage.verify.findings import Finding
from storage.verify.tar_members import read_members

MOST_FOREIGN_BYTES = 1 << 30
"""Bytes of other origin in a shard that are still read, for members to be named."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShardTask:
    """All that a worker needs to check one shard."""

    root: str
    shard: str
    images: pa.Table
    """Rows of the image table that name this shard, in their order."""
    truths: tuple[str, ...]
    """Folders of the set's truth tables."""
    num_classes: int
    quick: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShardReport:
    """What came out."""

    shard: str
    num_images: int
    """Rows that were checked."""
    num_bytes: int
    """Size of the tar."""
    num_boxes: Mapping[str, int]
    """Boxes in the truth table of each folder, crowds not counted."""
    findings: tuple[Finding, ...]


def check_shard(task: ShardTask) -> ShardReport:
    """Check one shard with its truth tables."""
    rows: list[Row] = task.images.to_pylist()
    findings: list[Finding] = []
    descriptions: Mapping[str, Any] = {}
    num_bytes = 0
    try:
        with _opened(files.join(task.root, task.shard)) as file:
            num_bytes = file.seek(0, io.SEEK_END)
            if (limit := _most_bytes(rows)) < num_bytes:  # without end, as far as anyone can wait
                got, expected = f"{num_bytes:,} bytes", f"at most {limit:,} bytes with {len(rows)} images"
                findings.append(Finding("foreign bytes", task.shard, expected, got))
            else:
                samples = Samples(shard=task.shard, file=file, tar=read_members(file))
                findings += _check_tar(samples, rows, num_bytes=num_bytes, quick=task.quick)
                descriptions = samples.sound
    except FileNotFoundError:
        findings.append(Finding("missing shard", task.shard, f"a tar of {len(rows)} images", "no such file"))
    except OSError as error:
        findings.append(Finding("unreadable shard", task.shard, "a file to read", str(error)))
    num_boxes = {}
    for truth in _truths(task, rows, findings, descriptions):
        num_boxes[truth.folder], truth_findings = check_truth(truth)
        findings += truth_findings
    return ShardReport(
        shard=task.shard,
        num_images=len(rows),
        num_bytes=num_bytes,
        num_boxes=num_boxes,
        findings=tuple(findings),
    )


def _most_bytes(rows: Sequence[Row]) -> int:
    """Return what no tar of these images exceeds, with all that a stranger might have appended for a reason."""
    return 2 * max((row["offset"] + row["size"] for row in rows), default=0) + MOST_FOREIGN_BYTES


def _truths(
    task: ShardTask, rows: Sequence[Row], findings: Sequence[Finding], descriptions: Mapping[str, Any]
) -> list[TruthTask]:
    return [
        TruthTask(
            root=task.root,
            folder=folder,
            stem=shard_stem(task.shard),
            sizes={row["key"]: (row["height"], row["width"]) for row in rows},
            reported={finding.key for finding in findings if finding.key is not None},
            in_order=all(finding.kind != "rows out of order" for finding in findings),
            descriptions=descriptions if folder == "ground_truth" else {},
            num_classes=task.num_classes,
        )
        for folder in task.truths
    ]


@contextmanager
def _opened(location: str) -> Iterator[BinaryIO]:
    """Open a file; a remote one is read whole, as a request for each header would take longer."""
    if files.is_local(location):
        with open_regular(files.local_path(location)) as file:
            yield file
    else:
        yield io.BytesIO(files.read_bytes(location))


def _check_tar(samples: Samples, rows: Sequence[Row], *, num_bytes: int, quick: bool) -> Iterator[Finding]:
    yield from _gaps(samples, rows, num_bytes)
    yield from sort_members(samples)
    yield from _without_row(samples, {row["key"] for row in rows})
    for row in rows:
        finding = check_sample(samples, row, quick=quick)
        if finding is not None:
            yield finding
    yield from _order(samples, rows)


def _gaps(samples: Samples, rows: Sequence[Row], num_bytes: int) -> Iterator[Finding]:
    for gap in samples.tar.gaps:
        if gap.stop is None:
            lost = [row["key"] for row in rows if gap.covers(headers(row)[0])]
            images = f", {len(lost)} images lost, the first is {lost[0]}" if lost else ""
            end = max((headers(row)[1] for row in rows), default=0)
            expected = f"members to byte {end:,} and a mark of the end"
            yield Finding(
                "truncated shard", samples.shard, expected, f"the end at byte {num_bytes:,}{images}"
            )
        else:
            key = next((row["key"] for row in rows if gap.start in headers(row)), None)
            expected = f"a tar header at byte {gap.start:,}"
            yield Finding("damaged tar header", samples.shard, expected, "none", key=key)


def _without_row(samples: Samples, keys: set[str]) -> Iterator[Finding]:
    for key in sorted(samples.images.keys() - keys):
        got = f"{samples.images[key].name} in the tar"
        yield Finding("image without a row", samples.shard, "a row in images.parquet", got, key=key)
    for key in sorted(samples.descriptions.keys() - keys - samples.images.keys()):
        yield Finding("stray member", samples.shard, "an image beside it", f"{key}.json alone", key=key)


def _order(samples: Samples, rows: Sequence[Row]) -> Iterator[Finding]:
    """Yield a finding when the rows do not follow the members: streams and truth tables count on it."""
    keys = [row["key"] for row in rows if row["key"] in samples.images]
    for earlier, later in pairwise(keys):
        if samples.images[later].offset < samples.images[earlier].offset:
            expected = f"rows in the order of the tar, {later} before {earlier}"
            got = "them the other way round"
            yield Finding("rows out of order", samples.shard, expected, got, key=later)
            return
