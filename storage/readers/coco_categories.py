"""The categories of a COCO file: ids and names in ascending order, and what LVIS notes of them.

In: the list `categories`, and the category ids of the annotations. Out: the classes. Guaranteed: ids and names are
unique. A category 0 that groups all others and that no annotation uses, as Roboflow writes it first, is no class: a
remark.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.errors import SourceError
from storage.problems import Problems
from storage.readers.coco_values import whole_number


def read_categories(entries: Any, path: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the ids and the names by ascending id. Raises SourceError where they cannot be classes."""
    try:
        pairs = sorted((_category_id(entry["id"]), str(entry["name"])) for entry in entries)
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"expected categories with 'id' and 'name', got {error!r}: {path}; correct the annotation file"
        ) from None
    ids, names = tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
    for kind, values in (("id", ids), ("name", names)):
        twice = [value for value, count in Counter[int | str](values).items() if count > 1]
        if twice:
            raise SourceError(
                f"expected each category {kind} once, got {twice[0]!r} twice: {path}; rename or merge them"
            )
    return ids, names


def without_group(entries: Any, used_ids_E: npt.NDArray[np.int64] | None, problems: Problems) -> Any:
    """Return the categories without the unused one that groups all others."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return entries
    first, others = entries[:1], entries[1:]
    is_group = first and others and whole_number(first[0].get("id")) == 0
    if not is_group or any(entry.get("supercategory") != first[0].get("name") for entry in others):
        return entries
    if used_ids_E is not None and np.any(used_ids_E == 0):
        return entries
    problems.remark("category of all others without annotations (no class)", str(first[0].get("name")))
    return others


def class_notes(categories: Iterable[Mapping[str, Any]], category_ids: Sequence[int]) -> dict[str, Any]:
    """Return LVIS's groups of rare, common and frequent classes, in the order of the classes."""
    groups = {_category_id(entry["id"]): entry.get("frequency") for entry in categories}
    if not any(isinstance(group, str) for group in groups.values()):
        return {}
    return {"class_frequency": [groups[category_id] for category_id in category_ids]}


def _category_id(value: object) -> int:
    number = whole_number(value)
    if number is None:
        raise ValueError(f"id {value!r}")
    return number
