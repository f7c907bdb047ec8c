"""Splits as other projects publish them: a list of the labeled images.

In: the text of the list, and the images it speaks of. Out: `Split`. A list is one image a line, a JSON list, or
a COCO file of the labeled images; an image is named by its id, its file name, or its file name without folder and
suffix. Or it is the `split.json` of `mixpl split`: then family, percent, fold and hash are those of that split.
Guaranteed: every image named is there and the hash asked for is that of the ids; else a SourceError says which.

An image named more than once is labeled once, as lists drawn with replacement name some again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from storage import files
from storage.errors import SourceError
from storage.splits.draw_split import AnyFamily, Split

MIN_HASH_DIGITS = 8
"""Shorter beginnings of a hash prove too little."""


def import_split(
    path: str, images: Sequence[Mapping[str, Any]], *, expected_hash: str | None = None
) -> Split:
    """Return the split that a list of labeled images makes of COCO image records.

    `expected_hash` is the split's hash or `ids_hash`, or at least 8 digits of its beginning.
    """
    try:
        text = files.read_bytes(path).decode()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise SourceError(f"expected a list of image ids, got {error}; check the path") from None
    except UnicodeDecodeError as error:
        raise SourceError(f"expected a list of image ids, got {error}: {path}") from None
    document = _parsed(text)
    named = _named(document, path)
    labeled = _ids(named, images, path)
    everything = {int(image["id"]) for image in images}
    if not 0 < len({*labeled}) < len(everything):
        raise SourceError(
            f"expected at least one labeled and one unlabeled image, got {len({*labeled})} labeled of "
            f"{len(everything)}: {path}; is it the list of the labeled part?"
        )
    note = document if isinstance(document, dict) and "labeled_ids" in document else {}
    split = Split(
        family=_family(note, path),
        percent=float(note.get("percent", 100 * len({*labeled}) / len(everything))),
        fold=int(note.get("fold", 0)),
        seed=int(note.get("seed", 0)),
        num_images=len(everything),
        num_draws=int(note.get("num_draws", len(labeled))),
        labeled_ids=tuple(sorted({*labeled})),
        unlabeled_ids=tuple(sorted(everything - {*labeled})),
    )
    for wanted, where in ((note.get("hash"), f"{path} says"), (expected_hash, "--hash asks for")):
        if wanted is not None:
            _check_hash(split, str(wanted).lower(), where)
    return split


def _parsed(text: str) -> Any:
    """Return the JSON value, or the lines of a list that is none."""
    try:
        document = json.loads(text)
    except ValueError:
        return [line.strip() for line in text.splitlines() if line.strip()]
    return document if isinstance(document, list | dict) else [document]


def _named(document: Any, path: str) -> list[Any]:
    """Return what names an image each."""
    if isinstance(document, dict):
        listed = document.get("labeled_ids", document.get("images"))
        document = [entry.get("id") if isinstance(entry, dict) else entry for entry in listed or ()]
    wrong = [entry for entry in document if not isinstance(entry, int | str) or isinstance(entry, bool)]
    if wrong or not document:
        raise SourceError(
            f"expected image ids or file names, one a line, as a JSON list or as a COCO file with 'images', got "
            f"{repr(wrong[0]) if wrong else 'none'}: {path}; give a list of the labeled images"
        )
    return list(document)


def _ids(named: Sequence[int | str], images: Sequence[Mapping[str, Any]], path: str) -> list[int]:
    ids = {int(image["id"]) for image in images}
    by_name: dict[str, int] = {}
    for image in images:
        file_name = PurePosixPath(str(image["file_name"]))
        for name in (file_name.stem, file_name.name, str(file_name)):
            by_name[name] = int(image["id"])
    image_ids = [_id(name, ids, by_name) for name in named]
    missing = [index for index, image_id in enumerate(image_ids) if image_id is None]
    if missing:
        raise SourceError(
            f"expected images of the annotation file, got {len(missing):,} of {len(named):,} that it does not "
            f"have, the first {named[missing[0]]!r} as entry {missing[0] + 1}: {path}; is it the list of another "
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


def _family(note: Mapping[str, Any], path: str) -> AnyFamily:
    match note.get("family", "imported"):
        case "published":
            return "published"
        case "exact":
            return "exact"
        case "imported":
            return "imported"
        case other:
            raise SourceError(f"expected a family published, exact or imported, got {other!r}: {path}")


def _check_hash(split: Split, wanted: str, where: str) -> None:
    if len(wanted) < MIN_HASH_DIGITS or not any(
        digits.startswith(wanted) for digits in (split.hash, split.ids_hash)
    ):
        raise SourceError(
            f"expected the hash that {where}, {wanted}, got split hash {split.hash[:16]} and hash of the "
            f"labeled ids {split.ids_hash[:16]}; the list or the annotation file is another one"
            + (f", or give {MIN_HASH_DIGITS} digits or more" if len(wanted) < MIN_HASH_DIGITS else "")
        )
