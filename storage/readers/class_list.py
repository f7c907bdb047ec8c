"""Class lists: those of a file, and the classes of a source in another order.

In: a list of names, one a line, a YOLO `data.yaml`, or a COCO file; or an `ImageSet`. Out: names with their ids; or
the same images with these classes, matched by name. A class in another spelling is taken where exactly one of the
list fits: a remark. Boxes, crowd regions and difficult objects of other classes are dropped and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from storage.class_names import plain_class
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
    twice = [name for name, count in Counter(lines).items() if count > 1]
    if twice or not lines:
        got = f"{twice[0]!r} twice" if twice else "no name"
        raise SourceError(f"expected different class names, one a line, got {got}: {path}; correct it")
    return lines, tuple(range(1, len(lines) + 1))


def with_classes(source: ImageSet, classes: Sequence[str], category_ids: Sequence[int]) -> ImageSet:
    """Return a source with these classes in this order. Raises SourceError where it has none of them."""
    rows_C = _rows_of(source, classes)
    if len(rows_C) and not np.any(rows_C >= 0):
        raise SourceError(
            f"expected classes of the list {', '.join(classes[:5])}, got {', '.join(source.classes[:5])}: "
            f"{source.path}; give one names of the other"
        )
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


def _rows_of(source: ImageSet, classes: Sequence[str]) -> npt.NDArray[np.int32]:
    """Return the row in the list of each class of the source; -1 of one that is not there."""
    index = {name: row for row, name in enumerate(classes)}
    spellings: dict[str, set[str]] = {}
    for name in (*classes, *source.classes):
        spellings.setdefault(plain_class(name), set()).add(name)
    rows: list[int] = []
    for name in source.classes:
        others = [*spellings[plain_class(name)] - {name}]
        if name not in index and len(others) == 1 and others[0] not in source.classes:
            source.problems.remark("class in another spelling (taken)", f"{name} as {others[0]}")
            rows.append(index[others[0]])
        else:
            rows.append(index.get(name, -1))
    return np.array(rows, np.int32)


def _mapped_truth(source: ImageSet, truth: Truth, rows_C: npt.NDArray[np.int32]) -> Truth:
    kept_N = rows_C[truth.labels.categories_N] >= 0
    for labels in (truth.labels, truth.crowds, truth.difficult):
        if labels is not None:
            dropped = np.flatnonzero(rows_C[labels.categories_N] < 0)
            kind = "class that is not in the list (dropped)"
            source.problems.add_rows(kind, dropped, _describe(source, labels))
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


def _describe(source: ImageSet, labels: Labels) -> Callable[[int], str]:
    images_N = labels.image_rows()
    return lambda row: f"{source.file_names[images_N[row]]}: {source.classes[labels.categories_N[row]]}"


def _mapped(labels: Labels, rows_C: npt.NDArray[np.int32]) -> Labels:
    kept = labels.keep(rows_C[labels.categories_N] >= 0)
    return replace(kept, categories_N=rows_C[kept.categories_N])


def _mapped_lists(
    lists: Sequence[tuple[int, ...]], rows_C: npt.NDArray[np.int32]
) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(sorted(int(rows_C[row]) for row in image if rows_C[row] >= 0)) for image in lists)
