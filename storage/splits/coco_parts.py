"""A source of any format as a COCO document, so that its split is written as that of any COCO file.

In: an `ImageSet`. Out: the document: file names relative to the folder of the images, boxes as xywh, crowd regions
with `iscrowd`, difficult objects with `difficult`. Without truth it has no annotations.
"""

from __future__ import annotations

from typing import Any

from storage import boxes
from storage.labels import Labels
from storage.readers.image_set import ImageSet


def coco_document(source: ImageSet) -> dict[str, Any]:
    """Return a source as a COCO document."""
    images = [
        {"id": image_id, "file_name": name, "width": int(width), "height": int(height)}
        for image_id, name, (height, width) in zip(
            source.image_ids, source.file_names, source.sizes, strict=True
        )
        if width and height
    ]
    for name in {*source.file_names} - {image["file_name"] for image in images}:
        source.problems.add("image without a readable size (left out)", name)
    document: dict[str, Any] = {"images": images, "categories": _categories(source)}
    if source.truth is None:
        return document
    annotations = _annotations(source, source.truth.labels, {})
    for annotation, area in zip(annotations, source.truth.areas.tolist(), strict=True):
        annotation["area"] = area
    annotations += _annotations(source, source.truth.crowds, {"iscrowd": 1})
    if source.truth.difficult is not None:
        annotations += _annotations(source, source.truth.difficult, {"difficult": 1})
    return document | {"annotations": [{"id": row, **entry} for row, entry in enumerate(annotations, 1)]}


def _categories(source: ImageSet) -> list[dict[str, Any]]:
    return [
        {"id": number, "name": name} for number, name in zip(source.category_ids, source.classes, strict=True)
    ]


def _annotations(source: ImageSet, labels: Labels, more: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image_id,
            "category_id": source.category_ids[category],
            "bbox": [float(str(side)) for side in box],
            "iscrowd": 0,
            **more,
        }
        for row, image_id in enumerate(source.image_ids)
        for box, category in zip(
            boxes.xyxy_to_xywh(labels.image(row).boxes_N4), labels.image(row).categories_N, strict=True
        )
    ]
