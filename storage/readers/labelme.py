"""Reader of labelme's JSON files, one beside each image.

In: a folder with the files, in subfolders too, and the folder of the images where it is another. Out: `ImageSet`,
images in the order of the files' names; classes by name, as labelme keeps no list of them. Of a file's image counts
what `imagePath` says; where no such image is there, the one called as the file is meant.

What is wrong in single entries is counted and named in `problems`, beside what `storage.readers.tool_images`
decides:

    broken annotation file            no JSON of labelme: its image is left out
    malformed shape                   no label, or too few points of two finite numbers: dropped
    point, line, linestrip, points    no box: dropped
    polygon, circle, mask, turned     the box around it is taken: a remark
    shapes of one group and label     one object, as labelme's own exports take them: a remark
    pixels in the JSON alone          the image is left out
"""

from __future__ import annotations

import hashlib
import math
import posixpath
import re

import msgspec

from storage import files
from storage.errors import SourceError
from storage.image_check import Frame
from storage.problems import Problems
from storage.readers.find_file import FileFinder, plain_stem
from storage.readers.folder import IMAGE_SUFFIXES
from storage.readers.image_set import ImageSet
from storage.readers.json_entries import read_entry, read_json
from storage.readers.outlines import Sides, around
from storage.readers.text import head_of
from storage.readers.tool_images import ToolImage, ToolObject, ToolSource, image_set_of

_SHAPES = re.compile(rb'"shapes"\s*:\s*\[')
_MIN_POINTS = {"rectangle": 2, "polygon": 3, "circle": 2, "mask": 2, "rotation": 3, "oriented_rectangle": 3}
"""How many points a shape needs whose box is taken."""


class _File(msgspec.Struct, rename="camel"):
    shapes: list[msgspec.Raw]
    image_path: str | None = None
    image_height: float | None = None
    image_width: float | None = None
    image_data: msgspec.Raw = msgspec.Raw(b"null")
    """Undecoded: the pixels of the whole image may stand there."""


class _Shape(msgspec.Struct):
    label: str | int
    points: list[tuple[float, float]]
    shape_type: str | None = None
    group_id: str | int | None = None


def is_labelme(location: str) -> bool:
    """Return whether this is a JSON file of labelme."""
    return location.lower().endswith(".json") and bool(_SHAPES.search(head_of(location)))


def read_labelme(path: str, *, images: str | None = None, frame: Frame = "upright") -> tuple[ImageSet, str]:
    """Read all files below a folder, or one; return the images and the folder that their names are relative to.

    Raises SourceError when there is no such file.
    """
    names = files.walk_files(path)
    if path.lower().endswith(".json"):
        path, _, name = path.rpartition("/")
        path, names = path or ".", [name]
    images_root = images or path
    there = [name for name in files.walk_files(images_root) if name.lower().endswith(IMAGE_SUFFIXES)]
    reading = _Reading(images_root, there)
    for name in names:
        if name.lower().endswith(".json"):
            reading.read(path, name)
    if not reading.images:
        broken = "; ".join(reading.problems.lines())
        raise SourceError(f"expected JSON files of labelme, got {broken or 'none'}: {path}; check the path")
    source = ToolSource(
        path=path,
        format="labelme",
        sha256=reading.digest.hexdigest(),
        images_root=images_root,
        images=reading.images,
        classes=(),
        num_annotations=reading.num_annotations,
        problems=reading.problems,
        frame=frame,
    )
    return image_set_of(source), images_root


class _Reading:
    """The images of all files."""

    def __init__(self, images_root: str, there: list[str]) -> None:
        self.images: list[ToolImage] = []
        self.problems = Problems()
        self.digest = hashlib.sha256()
        self.num_annotations = 0
        self._finder = FileFinder(images_root)
        self._there = {*there}
        self._by_stem = {(posixpath.dirname(name), plain_stem(name)): name for name in there}

    def read(self, path: str, name: str) -> None:
        """Add the image of one file."""
        location = files.join(path, name)
        try:
            content, data = read_json(location, _File, "labelme")
        except SourceError as error:
            beside = (posixpath.dirname(name), plain_stem(name)) in self._by_stem
            kind = "broken annotation file (image left out)" if beside else "JSON of another kind (not read)"
            self.problems.add(kind, f"{name}: {str(error).partition(': ')[0]}")
            return
        self.digest.update(b"%s %d " % (name.encode(), len(data)) + data)
        self.num_annotations += len(content.shapes)
        image = self._image_name(name, content.image_path or "")
        if image is None and bytes(content.image_data) != b"null":
            self.problems.add("image whose pixels stand in its JSON alone (left out)", name)
            return
        self.images.append(
            ToolImage(
                file_name=image or content.image_path or plain_stem(name),
                height=int(content.image_height or 0),
                width=int(content.image_width or 0),
                objects=tuple(_objects(content.shapes, name, self.problems)),
            )
        )

    def _image_name(self, name: str, written: str) -> str | None:
        """Return the image that a file names, the one called as the file, or the named one elsewhere."""
        folder = posixpath.dirname(name)
        slashed = written.replace("\\", "/")
        named = posixpath.normpath(posixpath.join(folder, slashed))
        if named in self._there:
            return named
        beside = self._by_stem.get((folder, plain_stem(name)))
        return beside or self._finder.find(posixpath.basename(slashed))[0]


def _objects(shapes: list[msgspec.Raw], where: str, problems: Problems) -> list[ToolObject]:
    """Return the objects of a file: those of one label and group are parts of one."""
    objects: dict[tuple[str, object], ToolObject] = {}
    for number, entry in enumerate(shapes):
        place = f"{where}: shapes[{number}]"
        shape = read_entry(entry, _Shape)
        object_ = _object(shape, place, problems) if isinstance(shape, _Shape) else None
        if isinstance(shape, str):
            problems.add("malformed shape (dropped)", f"{place}: {shape}")
        if object_ is None or isinstance(shape, str):
            continue
        part = (object_.label, ("shape", number) if shape.group_id is None else shape.group_id)
        if part in objects:
            problems.remark("shapes of one group and label (taken as one object)", f"{place}: {shape.label}")
            corners = (objects[part].box[:2], objects[part].box[2:], object_.box[:2], object_.box[2:])
            object_ = ToolObject(label=object_.label, box=around(corners))
        objects[part] = object_
    return [*objects.values()]


def _object(shape: _Shape, place: str, problems: Problems) -> ToolObject | None:
    """Return the object of a shape; None, counted, where it is no box or malformed."""
    label, kind = str(shape.label).strip(), shape.shape_type or "polygon"
    if kind not in _MIN_POINTS:
        problems.add(f"no box: {kind} (dropped)", f"{place}: {label}")
        return None
    if not label or len(shape.points) < _MIN_POINTS[kind]:
        problems.add("malformed shape (dropped)", f"{place}: {label or 'no label'}, {kind} of {shape.points}")
        return None
    if kind != "rectangle":
        problems.remark(f"{kind} (the box around it taken)", f"{place}: {label}")
    return ToolObject(label=label, box=_box(kind, shape.points))


def _box(kind: str, points: list[tuple[float, float]]) -> Sides:
    if kind == "circle":  # the centre, and a point of the edge
        (x, y), radius = points[0], math.dist(points[0], points[1])
        return x - radius, y - radius, x + radius, y + radius
    left, top, right, bottom = around(points)
    if kind == "mask":  # its last pixels
        return left, top, right + 1, bottom + 1
    return left, top, right, bottom
