"""Class lists: those of a file, and the classes of a source in another order.

In: a list of names, one a line, a YOLO `data.yaml`, or a COCO file; or an `ImageSet`. Out: names with their ids; or
the same images with these classes, matched by name. Boxes of other classes are dropped and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from storage.errors import SourceError
from storage.labels import Labels
from storage.readers.coco import read_coco
from storage.readers.image_set import ImageSet
from storage.readers.text import read_lines
from storage.readers.yolo_yaml import read_yaml
from storage.truth import Federated, Truth

ClassList = tuple[tuple[str, ...], tuple[int, ...]]


def read_classes(path: str) -> ClassList:
    """Return the names and ids of a class list. Raises SourceError when there is none in the file."""
    if path.lower().endswith((".yaml", ".yml")):
        names = read_yaml(path).names
        return tuple(names.values()), tuple(names)
    if path.lower().endswith(".json"):
        source = read_coco(path)
        return source.classes, source.category_ids
    try:
        lines = tuple(line.strip() for line in read_lines(path) if line.strip())
    except (FileNotFoundError, IsADirectoryError) as error:
        raise SourceError(f"expected a list of classes, got {error}; check the path") from None
    if not lines or len({*lines}) != len(lines):
        raise SourceError(
            f"expected different class names, one a line, got {len(lines)} lines: {path}; correct it"
        )
    return lines, tuple(range(1, len(lines) + 1))


def with_classes(source: ImageSet, classes: Sequence[str], category_ids: Sequence[int]) -> ImageSet:
    """Return a source with these classes in this order. Raises SourceError where it has none of them."""
    if source.classes and not {*classes} & {*source.classes}:
        raise SourceError(
            f"expected classes of the list {', '.join(classes[:5])}, got {', '.join(source.classes[:5])}: "
            f"{source.path}; give one names of the other"
        )
    index = {name: row for row, name in enumerate(classes)}
    rows_C = np.array([index.get(name, -1) for name in source.classes], np.int32)
    notes = dict(source.notes)
    if "class_frequency" in notes:
        groups = dict(zip(source.classes, notes["class_frequency"], strict=True))
        notes["class_frequency"] = [groups.get(name) for name in classes]
    return replace(
        source,
        classes=tuple(classes),
        category_ids=tuple(category_ids),
        truth=source.truth and _mapped_truth(source, source.truth, rows_C),
        notes=notes,
    )


def _mapped_truth(source: ImageSet, truth: Truth, rows_C: npt.NDArray[np.int32]) -> Truth:
    kept_N = rows_C[truth.labels.categories_N] >= 0
    images_N = truth.labels.image_rows()
    source.problems.add_rows(
        "class that is not in the list (dropped)", np.flatnonzero(~kept_N), _describe(source, truth, images_N)
    )
    federated = truth.federated
    return Truth(
        labels=_mapped(truth.labels, rows_C),
        areas=truth.areas[kept_N],
        crowds=_mapped(truth.crowds, rows_C),
        difficult=truth.difficult and _mapped(truth.difficult, rows_C),
        federated=federated
        and Federated(
            absent=_mapped_lists(federated.absent, rows_C),
            not_exhaustive=_mapped_lists(federated.not_exhaustive, rows_C),
        ),
    )


def _describe(source: ImageSet, truth: Truth, images_N: npt.NDArray[np.int64]) -> Callable[[int], str]:
    return lambda row: f"{source.file_names[images_N[row]]}: {source.classes[truth.labels.categories_N[row]]}"


def _mapped(labels: Labels, rows_C: npt.NDArray[np.int32]) -> Labels:
    kept = labels.keep(rows_C[labels.categories_N] >= 0)
    return replace(kept, categories_N=rows_C[kept.categories_N])


def _mapped_lists(
    lists: Sequence[tuple[int, ...]], rows_C: npt.NDArray[np.int32]
) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(sorted(int(rows_C[row]) for row in image if rows_C[row] >= 0)) for image in lists)
