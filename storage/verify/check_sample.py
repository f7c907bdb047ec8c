"""One sample of a shard, an image and its KEY.json, held against its row of the image table.

In: the `Samples` of a tar, sorted from its members, and a row. Out: the first thing that is wrong with the sample,
so that one damage is one finding: the image is missing, stands elsewhere, has other bytes, does not decode, has
another size or extension, or its description differs. Nothing is taken from the table unchecked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from storage.errors import SourceError
from storage.image_check import check_image
from storage.verify.findings import Finding
from storage.verify.tar_members import BLOCK, Member, TarMembers, after

Row = Mapping[str, Any]
"""One row of the image table."""

DESCRIBED = ("image_id", "width", "height")
"""What KEY.json and the image table both say."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Samples:
    """The members of one shard, sorted into images and descriptions by key."""

    shard: str
    file: BinaryIO
    tar: TarMembers
    images: dict[str, Member] = field(default_factory=dict)
    descriptions: dict[str, Member] = field(default_factory=dict)
    sound: dict[str, Any] = field(default_factory=dict)
    """Content of KEY.json by key, of each sample with which nothing is wrong."""

    def read(self, member: Member) -> bytes:
        """Return the bytes of a member."""
        self.file.seek(member.offset)
        return self.file.read(member.size)


def sort_members(samples: Samples) -> Iterator[Finding]:
    """Sort the members into images and descriptions; yield those that are no part of a sample."""
    names: set[str] = set()
    for member in samples.tar.members:
        key, _, extension = member.name.partition(".")
        kind = samples.descriptions if extension == "json" else samples.images
        if member.name in names:
            got = f"a second one at byte {member.offset:,}"
            yield Finding("member twice", samples.shard, f"one member {member.name}", got, key=key)
        elif key in kind or not extension or "/" in member.name or not member.is_file:
            got = member.name if member.is_file else f"{member.name}, which is no file"
            yield Finding("stray member", samples.shard, "KEY.EXTENSION and KEY.json", got)
        else:
            kind[key] = member
        names.add(member.name)


def headers(row: Row) -> tuple[int, int]:
    """Return where a row expects the headers of its image and of the description behind it."""
    return row["offset"] - BLOCK, after(row["offset"], row["size"])


def check_sample(samples: Samples, row: Row, *, quick: bool) -> Finding | None:
    """Return the first thing that is wrong with a sample; a sound one's description goes to `samples.sound`."""
    image = samples.images.get(row["key"])
    if image is None:
        return _missing_image(samples, row)
    return (
        _wrong_range(samples, row, image)
        or (None if quick else _wrong_bytes(samples, row, image))
        or _wrong_description(samples, row, image)
    )


def _missing_image(samples: Samples, row: Row) -> Finding | None:
    if any(map(samples.tar.is_lost, headers(row))):
        return None  # the gap in the tar is the finding
    expected = f"a member of {row['size']:,} bytes at {row['offset']:,}"
    return Finding("missing image", samples.shard, expected, "none of this key", key=row["key"])


def _wrong_range(samples: Samples, row: Row, image: Member) -> Finding | None:
    if (row["offset"], row["size"]) == (image.offset, image.size):
        return None
    expected = f"bytes {image.offset:,} + {image.size:,} as the tar says"
    got = f"{row['offset']:,} + {row['size']:,} in images.parquet"
    return Finding("wrong byte range", samples.shard, expected, got, key=row["key"])


def _wrong_bytes(samples: Samples, row: Row, image: Member) -> Finding | None:
    data = samples.read(image)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        decoded, state = check_image(data), "decodes"
    except SourceError as error:
        decoded, state = None, f"does not decode: {error}"
    if sha256 != row["sha256"]:
        kind, got = "changed bytes", f"{_short(sha256)}, which {state}"
        expected = f"sha256 {_short(row['sha256'])}"
    elif decoded is None:
        kind, expected = "undecodable image", "an image that decodes"
        got = f"{image.name}, whose hash is right and which {state}"
    elif (decoded.width, decoded.height) != (row["width"], row["height"]):
        kind, got = "wrong size", f"{decoded.width} x {decoded.height} in the tar"
        expected = f"{row['width']} x {row['height']} as in images.parquet"
    elif image.name != f"{row['key']}.{decoded.extension}":
        kind, got = "wrong extension", image.name
        expected = f"{row['key']}.{decoded.extension} as its bytes say"
    else:
        return None
    return Finding(kind, samples.shard, expected, got, key=row["key"])


def _wrong_description(samples: Samples, row: Row, image: Member) -> Finding | None:
    key, member = row["key"], samples.descriptions.get(row["key"])
    if member is None:
        if samples.tar.is_lost(after(image.offset, image.size)):
            return None
        return Finding("missing KEY.json", samples.shard, f"{key}.json behind {image.name}", "none", key=key)
    try:
        description = json.loads(samples.read(member))
        told = {name: description.get(name) for name in DESCRIBED}
    except (ValueError, AttributeError) as error:
        return Finding("KEY.json that differs", samples.shard, "a JSON object", str(error), key=key)
    differing = [name for name in DESCRIBED if told[name] != row[name]]
    if differing:
        expected, got = (", ".join(f"{name} {side[name]}" for name in differing) for side in (row, told))
        return Finding("KEY.json that differs", samples.shard, expected, got, key=key)
    samples.sound[key] = description
    return None


def _short(sha256: str | None) -> str:
    return "none" if sha256 is None else f"{sha256[:12]}…"
