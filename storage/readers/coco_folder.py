"""COCO files inside the folder of a data set, as tools export them together with the images.

In: a folder, and the name of a subset where it holds several: `train/_annotations.coco.json` beside its images
(Roboflow), `annotations/instances_default.json` with `images/` (CVAT, Datumaro), `result.json` (Label Studio),
`labels.json` with `data/` (FiftyOne). Out: the COCO file and the folder that its file names are relative to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from storage import files
from storage.errors import ConfigError, SourceError
from storage.readers.coco import read_coco
from storage.readers.image_set import ImageSet
from storage.readers.subsets import choose_subset
from storage.readers.text import head_of

ROBOFLOW_NAME = "_annotations.coco.json"
MAX_LOOKS = 20
"""JSON files that are looked into."""
_IMAGES = re.compile(rb'"images"\s*:\s*\[')
_ANNOTATIONS = re.compile(rb'"annotations"\s*:\s*\[')


def is_coco(location: str) -> bool:
    """Return whether a JSON file begins as one of COCO."""
    head = head_of(location)
    return bool(_IMAGES.search(head) or (_ANNOTATIONS.search(head) and b'"image_id"' in head))


def json_files(names: Sequence[str]) -> list[str]:
    """Return the JSON files among the names of files that are looked into, those in the fewest folders first."""
    names = [name for name in names if name.lower().endswith(".json")]
    return sorted(names, key=lambda name: (name.count("/"), name))[:MAX_LOOKS]


def find_coco(path: str) -> dict[str, str]:
    """Return the COCO files of a folder by subset."""
    names = [name for name in json_files(files.walk_files(path)) if is_coco(files.join(path, name))]
    subsets = [_subset(name) for name in names]
    unique = len({*subsets}) == len(subsets)
    return {
        subset if unique else name: files.join(path, name)
        for subset, name in zip(subsets, names, strict=True)
    }


def coco_file(path: str, subset: str | None) -> str:
    """Return the COCO file that this is, or that of a subset of this folder. Raises SourceError where none fits."""
    if path.lower().endswith(".json"):
        return path
    locations = find_coco(path)
    if not locations:
        raise SourceError(f"expected a COCO file, got a folder without one: {path}; check the path")
    return locations[choose_subset(locations, subset, path)]


def read_coco_folder(path: str, *, subset: str | None, images: str | None) -> tuple[ImageSet, str]:
    """Read the COCO file of a folder, or a file beside its images; return it and the folder of the images."""
    location = coco_file(path, subset)
    beside = location.rpartition("/")[0] or "."
    if images is None and location == path:
        if not location.endswith(ROBOFLOW_NAME):
            raise ConfigError(
                f"expected --images, the folder of the images that {path} names, got none; name it"
            )
        images = beside
    source = read_coco(location)
    if location != path:
        notes = {**source.notes, "annotation_file": location.removeprefix(f"{path.rstrip('/')}/")}
        source = replace(source, notes=notes)
    return source, images or images_folder(path, location, source.file_names)


def images_folder(path: str, location: str, file_names: Sequence[str]) -> str:
    """Return the folder in which the first image lies under its name, else the one given."""
    beside = location.rpartition("/")[0]
    subset, above = _subset(location), beside.rpartition("/")[0]
    places = [
        folder if not name else files.join(folder, name)
        for folder in (beside, path, above)
        for name in ("", "images", f"images/{subset}", subset, "data")
        if folder.startswith(path)
    ]
    there = (
        place for place in places if all(files.exists(files.join(place, name)) for name in file_names[:1])
    )
    return next(there, path)


def _subset(name: str) -> str:
    """Return what a COCO file calls its part: the folder it is in, or its own name."""
    folder, _, base = name.rpartition("/")
    if base == ROBOFLOW_NAME:
        return folder.rpartition("/")[2] or "all"
    return base.rpartition(".")[0].removeprefix("instances_")
