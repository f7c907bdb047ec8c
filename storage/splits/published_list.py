"""Splits as other projects publish them: a list of the labeled images.

In: the text of the list, and the images it speaks of. Out: `Split`. A list is one image a line, a JSON list, or
a COCO file of the labeled images; an image is named by its id, its file name, or its file name without folder and
suffix. Or it is the `split.json` of `mixpl split`: then family, percent, fold and hash are those of that split.
Guaranteed: every image named is there and the hash asked for is that of the ids; else a ValueError says which.

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
    own = document if isinstance(document, dict) and "labeled_ids" in document else {}
    split = Split(
        family=_family(own, path),
        percent=float(own.get("percent", 100 * len({*labeled}) / len(everything))),
        fold=int(own.get("fold", 0)),
        seed=int(own.get("seed", 0)),
        num_images=len(everything),
        num_draws=int(own.get("num_draws", len(labeled))),
        labeled_ids=tuple(sorted({*labeled})),
        unlabeled_ids=tuple(sorted(everything - {*labeled})),
    )
    for wanted, where in ((own.get("hash"), f"{path} says"), (expected_hash, "--hash asks for")):
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
        document = [one.get("id") if isinstance(one, dict) else one for one in listed or ()]
    wrong = [one for one in document if not isinstance(one, int | str) or isinstance(one, bool)]
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
    found = [_id(one, ids, by_name) for one in named]
    missing = [place for place, one in enumerate(found) if one is None]
    if missing:
        raise SourceError(
            f"expected images of the annotation file, got {len(missing):,} of {len(named):,} that it does not "
            f"have, the first {named[missing[0]]!r} in place {missing[0] + 1}: {path}; is it the list of another "
            "data set, or of positions instead of ids?"
        )
    return [one for one in found if one is not None]


def _id(one: int | str, ids: set[int], by_name: Mapping[str, int]) -> int | None:
    if isinstance(one, str):
        if one in by_name:
            return by_name[one]
        if not one.lstrip("-").isdecimal():
            return None
    return int(one) if int(one) in ids else None


def _family(own: Mapping[str, Any], path: str) -> AnyFamily:
    match own.get("family", "imported"):
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
        one.startswith(wanted) for one in (split.hash, split.ids_hash)
    ):
        raise SourceError(
            f"expected the hash that {where}, {wanted}, got split hash {split.hash[:16]} and hash of the "
            f"labeled ids {split.ids_hash[:16]}; the list or the annotation file is another one"
            + (f", or give {MIN_HASH_DIGITS} digits or more" if len(wanted) < MIN_HASH_DIGITS else "")
        )
