"""One shard held against its rows of the image table and against its truth: what is wrong with it.

In: a `ShardTask`. Out: a `ShardReport`. The tar is read by its own headers, and the table is believed in nothing:
members, byte ranges, hashes, descriptions, sizes and decodability are compared. An image is named once, for the
first thing that is wrong with it, so that one damage is one finding. `quick` reads headers, descriptions and tables
only. Memory: one shard, in quick mode of a local one a few blocks.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pyarrow as pa

from storage import files
from storage.image_check import check_image
from storage.verify.check_truth import TruthTask, check_truth
from storage.verify.findings import Finding
from storage.verify.tar_members import BLOCK, Member, ReadRange, TarMembers, after, read_members

DESCRIBED = ("image_id", "width", "height")
"""What KEY.json and the image table both say."""


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


@dataclass(slots=True)
class _Check:
    """One shard at work."""

    task: ShardTask
    size: int
    read: ReadRange
    tar: TarMembers
    images: dict[str, Member] = field(default_factory=dict)
    descriptions: dict[str, Member] = field(default_factory=dict)
    described: dict[str, Any] = field(default_factory=dict)
    """KEY.json of each image with which nothing is wrong."""


def check_shard(task: ShardTask) -> ShardReport:
    """Check one shard with its truth tables."""
    location = files.join(task.root, task.shard)
    rows = task.images.to_pylist()
    findings: list[Finding] = []
    described: dict[str, Any] = {}
    num_bytes = 0
    try:
        with _opened(location, quick=task.quick) as (num_bytes, read):
            tar = read_members(read, num_bytes, _headers(rows))
            findings += _tar(_Check(task=task, size=num_bytes, read=read, tar=tar, described=described), rows)
    except FileNotFoundError:
        findings.append(_finding(task, "missing shard", f"a tar of {len(rows)} images", "no such file"))
    except OSError as error:
        findings.append(_finding(task, "unreadable shard", "a file to read", str(error)))
    num_boxes = {}
    for truth in _truths(task, rows, findings, described):
        num_boxes[truth.folder], wrong = check_truth(truth)
        findings += wrong
    return ShardReport(
        shard=task.shard,
        num_images=len(rows),
        num_bytes=num_bytes,
        num_boxes=num_boxes,
        findings=tuple(findings),
    )


def _truths(
    task: ShardTask, rows: list[dict[str, Any]], findings: list[Finding], described: dict[str, Any]
) -> list[TruthTask]:
    return [
        TruthTask(
            root=task.root,
            folder=folder,
            stem=task.shard.removesuffix(".tar"),
            keys=[row["key"] for row in rows],
            sizes={row["key"]: (row["height"], row["width"]) for row in rows},
            reported={finding.key for finding in findings if finding.key is not None},
            in_order=all(finding.kind != "rows out of order" for finding in findings),
            described=described if folder == "ground_truth" else {},
            num_classes=task.num_classes,
        )
        for folder in task.truths
    ]


@contextmanager
def _opened(location: str, *, quick: bool) -> Iterator[tuple[int, ReadRange]]:
    """Give the size of a file and how to read it: whole at once, unless only its headers of a disk are read."""
    if quick and files.is_local(location):
        with files.local_path(location).open("rb") as file:
            descriptor = file.fileno()
            yield os.fstat(descriptor).st_size, lambda offset, length: os.pread(descriptor, length, offset)
        return
    data = files.read_bytes(location)  # a request for each header would take longer than the whole
    yield len(data), lambda offset, length: data[offset : offset + length]


def _tar(check: _Check, rows: list[dict[str, Any]]) -> Iterator[Finding]:
    yield from _gaps(check, rows)
    yield from _paired(check, {row["key"] for row in rows})
    for row in rows:
        yield from _image(check, row)
    yield from _order(check, rows)


def _headers(rows: list[dict[str, Any]]) -> list[int]:
    """Return where the table expects the headers of the images and of the descriptions behind them."""
    images = (row["offset"] - BLOCK for row in rows)
    descriptions = (after(row["offset"], row["size"]) for row in rows)
    return sorted({*images, *descriptions})


def _gaps(check: _Check, rows: list[dict[str, Any]]) -> Iterator[Finding]:
    for gap in check.tar.gaps:
        lost = [row["key"] for row in rows if _is_lost(check, row) and _header(row) >= gap.start]
        first = f", {len(lost)} images lost, the first is {lost[0]}" if lost else ""
        if gap.stop is None:
            expected = f"members to byte {max(_headers(rows), default=0):,} and a mark of the end"
            yield _finding(check.task, "truncated shard", expected, f"the end at byte {check.size:,}{first}")
            continue
        key = next((row["key"] for row in rows if gap.start in _row_headers(row)), None)
        yield _finding(
            check.task, "damaged tar header", f"a tar header at byte {gap.start:,}", "none", key=key
        )


def _header(row: dict[str, Any]) -> int:
    return int(row["offset"]) - BLOCK


def _row_headers(row: dict[str, Any]) -> tuple[int, int]:
    return _header(row), after(row["offset"], row["size"])


def _is_lost(check: _Check, row: dict[str, Any]) -> bool:
    return any(check.tar.is_lost(header) for header in _row_headers(row))


def _paired(check: _Check, keys: set[str]) -> Iterator[Finding]:
    """Sort the members into images and descriptions; name those that no row of the table speaks of."""
    seen: set[str] = set()
    for member in check.tar.members:
        key, _, extension = member.name.partition(".")
        kind = check.descriptions if extension == "json" else check.images
        if member.name in seen:
            got = f"a second one at byte {member.offset:,}"
            yield _finding(check.task, "member twice", f"one member {member.name}", got, key=key)
        elif key in kind or not extension:
            yield _finding(check.task, "stray member", "KEY.EXTENSION and KEY.json", member.name)
        else:
            kind[key] = member
        seen.add(member.name)
    for key in sorted(check.images.keys() - keys):
        got = f"{check.images[key].name} in the tar"
        yield _finding(check.task, "image without a row", "a row in images.parquet", got, key=key)
    for key in sorted(check.descriptions.keys() - keys - check.images.keys()):
        yield _finding(check.task, "stray member", "an image beside it", f"{key}.json alone", key=key)


def _image(check: _Check, row: dict[str, Any]) -> Iterator[Finding]:
    """Yield the first thing that is wrong with an image."""
    member = check.images.get(row["key"])
    if member is None:
        if not _is_lost(check, row):
            wanted = f"a member of {row['size']:,} bytes at {row['offset']:,}"
            yield _finding(check.task, "missing image", wanted, "none of this key", key=row["key"])
        return
    found = _wrong_range(check, row, member)
    if found is None and not check.task.quick:
        found = _wrong_bytes(check, row, member)
    if found is None:
        found = _wrong_description(check, row, member)
    if found is not None:
        yield found


def _wrong_range(check: _Check, row: dict[str, Any], member: Member) -> Finding | None:
    if (row["offset"], row["size"]) == (member.offset, member.size):
        return None
    expected = f"bytes {member.offset:,} + {member.size:,} as the tar says"
    got = f"{row['offset']:,} + {row['size']:,} in images.parquet"
    return _finding(check.task, "wrong byte range", expected, got, key=row["key"])


def _wrong_bytes(check: _Check, row: dict[str, Any], member: Member) -> Finding | None:
    key, data = row["key"], check.read(member.offset, member.size)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        decoded, state = check_image(data), "decodes"
    except ValueError as error:
        decoded, state = None, f"does not decode: {error}"
    if sha256 != row["sha256"]:
        expected, got = f"sha256 {_short(row['sha256'])}", f"{_short(sha256)}, which {state}"
        return _finding(check.task, "changed bytes", expected, got, key=key)
    if decoded is None:
        got = f"{member.name}, whose hash is right and which {state}"
        return _finding(check.task, "undecodable image", "an image that decodes", got, key=key)
    if (decoded.width, decoded.height) != (row["width"], row["height"]):
        expected = f"{row['width']} x {row['height']} as in images.parquet"
        return _finding(
            check.task, "wrong size", expected, f"{decoded.width} x {decoded.height} in the tar", key=key
        )
    if member.name != f"{key}.{decoded.extension}":
        expected = f"{key}.{decoded.extension} as its bytes say"
        return _finding(check.task, "wrong extension", expected, member.name, key=key)
    return None


def _wrong_description(check: _Check, row: dict[str, Any], image: Member) -> Finding | None:
    key, member = row["key"], check.descriptions.get(row["key"])
    if member is None:
        if check.tar.is_lost(after(image.offset, image.size)):
            return None
        return _finding(check.task, "missing KEY.json", f"{key}.json behind {image.name}", "none", key=key)
    expected = {name: row[name] for name in DESCRIBED}
    try:
        description = json.loads(check.read(member.offset, member.size))
        got = {name: description.get(name) for name in DESCRIBED}
    except (ValueError, AttributeError) as error:
        return _finding(check.task, "KEY.json that differs", "a JSON object", str(error), key=key)
    if got == expected:
        check.described[key] = description
        return None
    differing = [name for name in DESCRIBED if got[name] != expected[name]]
    wanted, came = (", ".join(f"{name} {values[name]}" for name in differing) for values in (expected, got))
    return _finding(check.task, "KEY.json that differs", wanted, came, key=key)


def _order(check: _Check, rows: list[dict[str, Any]]) -> Iterator[Finding]:
    """Yield a finding when the rows do not follow the members: streams and truth tables count on it."""
    members = [(check.images[row["key"]].offset, row["key"]) for row in rows if row["key"] in check.images]
    for before, now in pairwise(members):
        if now < before:
            expected = f"rows in the order of the tar, {now[1]} before {before[1]}"
            yield _finding(check.task, "rows out of order", expected, "them the other way round", key=now[1])
            return


def _short(sha256: str | None) -> str:
    return "none" if sha256 is None else f"{sha256[:12]}…"


def _finding(task: ShardTask, kind: str, expected: str, got: str, *, key: str | None = None) -> Finding:
    return Finding(kind=kind, place=task.shard, key=key, expected=expected, got=got)
