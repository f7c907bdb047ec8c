"""Reader of Datumaro's JSON, as CVAT, Geti and the Datumaro tool export it.

In: `annotations/SUBSET.json`, or the folder that holds it with `images/SUBSET/` beside, and the name of a subset
where there are several. Out: `ImageSet` and the folder of the images; classes in the order of the file's labels.

What is wrong in single entries is counted and named in `problems`, beside what `storage.readers.tool_images`
decides:

    malformed item                    no id: its image is left out
    malformed annotation              no type, label, or coordinates of its type: dropped
    polyline, points, cuboid …        no box: dropped
    polygon, ellipse, mask, turned    the box around it is taken: a remark
    label or caption of an image      no box: a remark
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec
from pycocotools import mask as coco_mask

from storage import files
from storage.errors import SourceError
from storage.image_check import Frame
from storage.problems import Problems
from storage.readers.coco_values import is_finite, shown
from storage.readers.image_set import ImageSet
from storage.readers.json_entries import read_entry, read_json
from storage.readers.outlines import Sides, around, turned_box
from storage.readers.subsets import choose_subset
from storage.readers.text import head_of
from storage.readers.tool_images import ToolImage, ToolObject, ToolSource, image_set_of, images_folder

_HEAD = re.compile(rb'"dm_format_version"|"categories"\s*:\s*\{')
_OF_AN_IMAGE = {"label", "caption"}
_MIN_POLYGON = 6
"""Numbers of a polygon with an area."""


class _Label(msgspec.Struct):
    name: str


class _Labels(msgspec.Struct):
    labels: list[_Label] = []


class _Categories(msgspec.Struct):
    label: _Labels = msgspec.field(default_factory=_Labels)


class _File(msgspec.Struct):
    items: list[msgspec.Raw]
    categories: _Categories


class _Image(msgspec.Struct):
    path: str = ""
    size: tuple[int, int] | None = None
    """Height and width."""


class _Item(msgspec.Struct):
    id: str | int
    annotations: list[msgspec.Raw] = []
    image: _Image | None = None
    media: _Image | None = None


class _Mask(msgspec.Struct):
    counts: str
    size: tuple[int, int]


class _Annotation(msgspec.Struct):
    type: str
    label_id: int | None = None
    bbox: tuple[float, float, float, float] | None = None
    points: list[float] | None = None
    rle: _Mask | None = None
    attributes: dict[str, Any] = {}

    @property
    def rotation(self) -> float:
        """Return the degrees by which a box is turned; attributes are the user's own, so this may be anything."""
        value: Any = self.attributes.get("rotation")
        return float(value) if is_finite(value) else 0.0


def find_datumaro(path: str) -> dict[str, str]:
    """Return the files of Datumaro by subset: the one that this is, or those in the folder's `annotations/`."""
    locations = (
        [path]
        if path.lower().endswith(".json")
        else files.list_files(files.join(path, "annotations"), ".json")
    )
    return {
        location.rpartition("/")[2].removesuffix(".json"): location
        for location in locations
        if _HEAD.search(head_of(location))
    }


def read_datumaro(
    path: str, *, subset: str | None = None, images: str | None = None, frame: Frame = "upright"
) -> tuple[ImageSet, str]:
    """Read one subset; return its images and the folder that their file names are relative to.

    Raises SourceError when there is no file of Datumaro, or none of this subset.
    """
    locations = find_datumaro(path)
    if not locations:
        raise SourceError(f"expected annotations/*.json of Datumaro, got none: {path}; check the path")
    chosen = choose_subset(locations, subset, path)
    location = locations[chosen]
    content, data = read_json(location, _File, "Datumaro")
    problems = Problems()
    classes = [label.name for label in content.categories.label.labels]
    images_root = images or images_folder(location.rpartition("/")[0].rpartition("/")[0] or ".", chosen)
    items = [_item(entry, number, problems) for number, entry in enumerate(content.items)]
    source = ToolSource(
        path=location,
        format="datumaro",
        sha256=hashlib.sha256(data).hexdigest(),
        images_root=images_root,
        images=[_image(item, classes, problems) for item in items if item is not None],
        classes=classes,
        num_annotations=sum(len(item.annotations) for item in items if item is not None),
        problems=problems,
        frame=frame,
        notes={"annotation_file": location.rpartition("/")[2], "subset": chosen},
    )
    return image_set_of(source), images_root


def _item(entry: msgspec.Raw, number: int, problems: Problems) -> _Item | None:
    item = read_entry(entry, _Item)
    if isinstance(item, str):
        problems.add("malformed item (image left out)", f"items[{number}]: {item}")
        return None
    return item


def _image(item: _Item, classes: list[str], problems: Problems) -> ToolImage:
    media = [media for media in (item.image, item.media) if media is not None]
    name = next((image.path for image in media if image.path), f"{item.id}.jpg")
    height, width = next((image.size for image in media if image.size), (0, 0))
    objects = (
        _object(entry, f"{item.id}: annotations[{number}]", classes, problems)
        for number, entry in enumerate(item.annotations)
    )
    return ToolImage(
        file_name=name,
        height=height,
        width=width,
        objects=tuple(object_ for object_ in objects if object_ is not None),
    )


def _object(entry: msgspec.Raw, place: str, classes: list[str], problems: Problems) -> ToolObject | None:
    """Return the object of an annotation; None, counted, where it is no box or malformed."""
    annotation = read_entry(entry, _Annotation)
    if isinstance(annotation, str):
        problems.add("malformed annotation (dropped)", f"{place}: {annotation}")
        return None
    kind, label_id = annotation.type, annotation.label_id
    if kind in _OF_AN_IMAGE:
        problems.remark(f"{kind} of a whole image (no box)", place)
        return None
    if kind not in _FIELDS:
        problems.add(f"no box: {kind} (dropped)", place)
        return None
    box = _box(annotation)
    if label_id is None or not 0 <= label_id < len(classes) or box is None:
        fields: dict[str, Any] = msgspec.json.decode(entry)
        wrong = _FIELDS[kind] if box is None else "label_id"
        problems.add("malformed annotation (dropped)", f"{place}: {kind} with {shown(fields, wrong)}")
        return None
    turned = kind == "bbox" and annotation.rotation != 0
    if turned or kind != "bbox":
        what = "turned box" if turned else kind
        problems.remark(f"{what} (the box around it taken)", f"{place}: {classes[label_id]}")
    return ToolObject(label=classes[label_id], box=box, crowd=annotation.attributes.get("is_crowd") is True)


_FIELDS = {"bbox": "bbox", "polygon": "points", "ellipse": "points", "mask": "rle"}
"""The field that holds the outline of each type whose box is taken."""


def _box(annotation: _Annotation) -> Sides | None:
    points = annotation.points or []
    match annotation.type:
        case "bbox" if annotation.bbox is not None:
            left, top, width, height = annotation.bbox
            box = (left, top, left + width, top + height)
            return turned_box(box, annotation.rotation) if annotation.rotation else box
        case "mask" if annotation.rle is not None and min(annotation.rle.size) > 0:
            left, top, width, height = coco_mask.toBbox(msgspec.to_builtins(annotation.rle)).tolist()
            return left, top, left + width, top + height
        case "polygon" if len(points) >= _MIN_POLYGON and len(points) % 2 == 0:
            return around([*zip(points[::2], points[1::2], strict=True)])
        case "ellipse" if len(points) == 4:  # of the box that it fills
            return around([points[:2], points[2:]])
    return None
