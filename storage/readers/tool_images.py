"""Images and objects as an annotation tool wrote them, gathered into an `ImageSet`.

In: `ToolImage`s in the order of the source: the name of a file, its size where the tool says it, and its objects,
each with a class and a box in pixels. Out: `ImageSet`, images numbered from 1, file names as the disk has them. The
classes are those that the source declares, in its order, and then those that occur without being declared, by name.

What is wrong in single entries is counted and named in `problems`, beside what `storage.readers.clean_annotations`
decides:

    object twice                      equal in class and box: the first is kept
    image without a readable size     its boxes are dropped; writing shards leaves the image out too
    file named twice                  both entries are kept, each with its own boxes
    class that is not declared        added to the classes: a remark
    image that no annotation names    left out: a remark
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from storage import files
from storage.errors import SourceError
from storage.image_check import Frame
from storage.problems import Problems
from storage.readers.clean_annotations import Annotations, truth_of
from storage.readers.find_file import FileFinder
from storage.readers.folder import IMAGE_SUFFIXES, size_of_file
from storage.readers.image_set import ImageSet
from storage.readers.outlines import Sides

_MAX_SIDE = 2**31
"""More than the image table holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolObject:
    """One object."""

    label: str
    box: Sides
    crowd: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolImage:
    """One image; `height` and `width` are 0 where the tool does not say them."""

    file_name: str
    height: int = 0
    width: int = 0
    objects: tuple[ToolObject, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolSource:
    """All that one source of a tool says."""

    path: str
    format: str
    sha256: str
    images_root: str
    images: Sequence[ToolImage]
    classes: Sequence[str]
    """Those that the source declares, in its order."""
    num_annotations: int
    problems: Problems
    frame: Frame = "upright"
    """What the boxes are of, and so the sizes of images of which the tool says none."""
    notes: Mapping[str, Any] = field(default_factory=dict)


def image_set_of(source: ToolSource) -> ImageSet:
    """Return the images with checked boxes. Raises SourceError where the source names no image."""
    if not source.images:
        raise SourceError(
            f"expected images in a source of {source.format}, got none: {source.path}; is the export complete?"
        )
    images = [_without_doubles(image, source.problems) for image in _on_disk(source)]
    classes = _classes(images, source)
    sizes_B2 = np.array([_size(image, source) for image in images], np.int32).reshape(-1, 2)
    return ImageSet(
        path=source.path,
        sha256=source.sha256,
        classes=classes,
        category_ids=tuple(range(1, len(classes) + 1)),
        image_ids=tuple(range(1, len(images) + 1)),
        file_names=tuple(image.file_name for image in images),
        sizes=sizes_B2,
        truth=truth_of(
            _annotations(images, classes, [all(size) for size in sizes_B2.tolist()]),
            sizes_B2,
            source.problems,
        ),
        split=None,
        problems=source.problems,
        num_annotations=source.num_annotations,
        notes={"format": source.format, **source.notes},
    )


def images_folder(root: str, subset: str) -> str:
    """Return the folder of a subset's images below the root of an export, or the root; no subset is empty."""
    images = files.join(root, "images")
    places = (files.join(images, subset), images) if subset else (images,)
    return next(filter(files.exists, places), root)


def _on_disk(source: ToolSource) -> list[ToolImage]:
    """Return the images under the names that their files have below the root, where they are there."""
    there = {name for name in files.walk_files(source.images_root) if name.lower().endswith(IMAGE_SUFFIXES)}
    finder = FileFinder(source.images_root)
    images = [
        image
        if image.file_name in there
        else replace(image, file_name=finder.find(image.file_name)[0] or image.file_name)
        for image in source.images
    ]
    names = Counter(image.file_name for image in images)
    for name, times in names.items():
        if times > 1:
            source.problems.add("file named twice (each image keeps its own boxes)", name)
    for name in sorted(there - {*names}):
        source.problems.remark("image that no annotation names (left out)", name)
    return images


def _without_doubles(image: ToolImage, problems: Problems) -> ToolImage:
    objects = tuple(dict.fromkeys(image.objects))
    for object_, times in Counter(image.objects).items():
        for _ in range(times - 1):
            problems.add("object twice (first kept)", f"{image.file_name}: {object_.label} {[*object_.box]}")
    return replace(image, objects=objects)


def _classes(images: Sequence[ToolImage], source: ToolSource) -> tuple[str, ...]:
    declared = tuple(dict.fromkeys(source.classes))
    places: dict[str, str] = {}
    for image in images:
        for object_ in image.objects:
            places.setdefault(object_.label, image.file_name)
    others = sorted({*places} - {*declared})
    for name in others if declared else ():
        source.problems.remark("class that is not declared (added)", f"{name} in {places[name]}")
    return (*declared, *others)


def _size(image: ToolImage, source: ToolSource) -> tuple[int, int]:
    size = image.height, image.width
    if not all(0 < side < _MAX_SIDE for side in size):
        size = size_of_file(files.join(source.images_root, image.file_name), frame=source.frame)
        if not all(size) and image.objects:
            source.problems.add("image without a readable size (its boxes dropped)", image.file_name)
    return size


def _annotations(
    images: Sequence[ToolImage], classes: Sequence[str], has_size: Sequence[bool]
) -> Annotations:
    index = {name: row for row, name in enumerate(classes)}
    rows = [(row, object_) for row, image in enumerate(images) if has_size[row] for object_ in image.objects]

    def describe(number: int) -> str:
        row, object_ = rows[number]
        return f"{images[row].file_name}: {object_.label} {[*object_.box]}"

    return Annotations(
        images_A=np.array([row for row, _ in rows], np.int64),
        categories_A=np.array([index[object_.label] for _, object_ in rows], np.int32),
        boxes_A4=np.array([object_.box for _, object_ in rows], np.float64).reshape(-1, 4),
        areas_A=np.full(len(rows), np.nan),
        scores_A=np.ones(len(rows), np.float32),
        crowd_A=np.array([object_.crowd for _, object_ in rows], bool),
        describe=describe,
    )
