"""Images of a round that have no row in its tables, each with its reason: `ROUND/shard-000003.without-row.json`.

In: for one shard the keys of such images with their reasons. Out: the same again. Guaranteed: written before the
table of the shard, so that a table never stands without the reasons of what it lacks; no file where it lacks
nothing. A reason is `lasting` where the bytes of the image are those that the set was written with, and do not
decode. An image that could not be read stands here only where a user accepted that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from storage import files
from storage.json_head import HeadFormat

ENDING = ".without-row.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class WithoutRow:
    """Why an image has no row."""

    reason: str
    lasting: bool
    """Whether the image itself is the reason, as it was written; else it could not be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Images:
    images: Mapping[str, WithoutRow]
    """By key."""


_FORMAT = HeadFormat(
    kind=_Images,
    what="the images of a shard that have no row",
    remedy="delete it, the table of its shard and round.json, and run the same `mixpl label` again",
)


def write_without_row(folder: str, stem: str, images: Mapping[str, WithoutRow]) -> None:
    """Keep the images of one shard, given its stem, that its table will lack; none take an earlier file back."""
    if images:
        _FORMAT.write(_location(folder, stem), asdict(_Images(images=dict(images))))
    else:
        files.remove_file(_location(folder, stem))


def read_without_row(folder: str, stem: str) -> Mapping[str, WithoutRow]:
    """Return the images of one shard that have no row, by key."""
    stored = _FORMAT.read(_location(folder, stem))
    return {} if stored is None else stored.images


def all_without_row(folder: str, stems: Sequence[str]) -> Iterator[tuple[str, Mapping[str, WithoutRow]]]:
    """Yield each of the shards, given by their stems, that has images without a row, and these."""
    there = {location.rsplit("/", 1)[-1] for location in files.list_files(folder, ENDING)}
    for stem in stems:
        if f"{stem}{ENDING}" in there:
            yield stem, read_without_row(folder, stem)


def _location(folder: str, stem: str) -> str:
    return files.join(folder, f"{stem}{ENDING}")
