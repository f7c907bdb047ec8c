"""Splits as other projects publish them: a list of the labeled images.

In: the text of the list, and the images it speaks of. Out: `Split`. A list is one image a line, a JSON list, or
a COCO file of the labeled images; an image is named by its id, its file name, or its file name without folder and
suffix. Or it is the `split.json` of `mixpl split`: then family, percent, fold and hash are those of that split.
Guaranteed: every image named is there and the hash asked for is that of the ids; else a SourceError says which. A
damaged `split.json` is a StoreError.

An image named more than once is labeled once, as lists drawn with replacement name some again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from storage import files
from storage.errors import SourceError
from storage.json_head import HeadFormat
from storage.readers.text import decode
from storage.splits.draw_split import AnyFamily, Split

MIN_HASH_DIGITS = 8
"""Shorter beginnings of a hash prove too little."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitHead:
    """What `split.json` says beside the ids; a list of another project says nothing."""

    family: AnyFamily = "imported"
    percent: float | None = None
    fold: int = 0
    seed: int = 0
    num_draws: int | None = None
    hash: str | None = None
    source_sha256: str | None = None
    labeled_ids: tuple[int | str, ...] = ()


SPLIT_HEAD = HeadFormat(
    kind=SplitHead, what="a split", remedy="write it again with `mixpl split --overwrite`"
)


def import_split(
    path: str, images: Sequence[Mapping[str, Any]], *, expected_hash: str | None = None
) -> Split:
    """Return the split that a list of labeled images makes of COCO image records.

    `expected_hash` is the split's hash or `ids_hash`, or at least 8 digits of its beginning.
    """
    try:
        text = decode(files.read_bytes(path), path)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise SourceError(f"expected a list of image ids, got {error}; check the path") from None
    document = _parsed(text)
    is_split = isinstance(document, dict) and "labeled_ids" in document
    head = SPLIT_HEAD.parse(text.encode(), where=path) if is_split else SplitHead()
    draws = _ids(_names(document, path), images, path)
    labeled, everything = {*draws}, {int(image["id"]) for image in images}
    if not 0 < len(labeled) < len(everything):
        raise SourceError(
            f"expected at least one labeled and one unlabeled image, got {len(labeled)} labeled of "
            f"{len(everything)}: {path}; is it the list of the labeled part?"
        )
    split = Split(
        family=head.family,
        percent=100 * len(labeled) / len(everything) if head.percent is None else head.percent,
        fold=head.fold,
        seed=head.seed,
        num_images=len(everything),
        num_draws=len(draws) if head.num_draws is None else head.num_draws,
        labeled_ids=tuple(sorted(labeled)),
        unlabeled_ids=tuple(sorted(everything - labeled)),
    )
    for digits, origin in ((head.hash, f"{path} says"), (expected_hash, "--hash asks for")):
        if digits is not None:
            _check_hash(split, digits.lower(), origin)
    return split


def _parsed(text: str) -> Any:
    """Return the JSON value, or the lines of a list that is none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return [line.strip() for line in text.splitlines() if line.strip()]
    return document if isinstance(document, list | dict) else [document]


def _names(document: Any, path: str) -> list[int | str]:
    """Return ids or file names, one an image."""
    if isinstance(document, dict):
        entries = document.get("labeled_ids", document.get("images")) or ()
        document = [entry.get("id") if isinstance(entry, dict) else entry for entry in entries]
    wrong = [entry for entry in document if not isinstance(entry, int | str) or isinstance(entry, bool)]
    if wrong or not document:
        raise SourceError(
            f"expected image ids or file names, one a line, as a JSON list or as a COCO file with 'images', got "
            f"{repr(wrong[0]) if wrong else 'none'}: {path}; give a list of the labeled images"
        )
    return list(document)


def _ids(names: Sequence[int | str], images: Sequence[Mapping[str, Any]], path: str) -> list[int]:
    ids = {int(image["id"]) for image in images}
    by_name: dict[str, int] = {}
    for image in images:
        file_name = PurePosixPath(str(image["file_name"]))
        by_name |= dict.fromkeys((file_name.stem, file_name.name, str(file_name)), int(image["id"]))
    image_ids = [_id(name, ids, by_name) for name in names]
    missing = [index for index, image_id in enumerate(image_ids) if image_id is None]
    if missing:
        raise SourceError(
            f"expected images of the annotation file, got {len(missing):,} of {len(names):,} that it does not "
            f"have, the first {names[missing[0]]!r} as entry {missing[0] + 1}: {path}; is it the list of another "
            "data set, or of positions instead of ids?"
        )
    return [image_id for image_id in image_ids if image_id is not None]


def _id(name: int | str, ids: set[int], by_name: Mapping[str, int]) -> int | None:
    if isinstance(name, str):
        if name in by_name:
            return by_name[name]
        if not name.lstrip("-").isdecimal():
            return None
    return int(name) if int(name) in ids else None


def _check_hash(split: Split, digits: str, origin: str) -> None:
    too_few = len(digits) < MIN_HASH_DIGITS
    if too_few or not any(full_hash.startswith(digits) for full_hash in (split.hash, split.ids_hash)):
        raise SourceError(
            f"expected the hash that {origin}, {digits}, got split hash {split.hash[:16]} and hash of the "
            f"labeled ids {split.ids_hash[:16]}; the list or the annotation file is another one"
            + (f", or give {MIN_HASH_DIGITS} digits or more" if too_few else "")
        )
