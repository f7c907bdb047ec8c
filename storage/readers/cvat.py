"""Reader of CVAT's XML ("CVAT for images 1.1").

In: `annotations.xml`, or the folder where it lies with `images/` beside, and the name of a subset where the export
is of a project in several. Out: `ImageSet` and the folder of the images; classes in the order of the project's
labels. Corners count from 0 and are edges, as everywhere here.

What is wrong in single entries is counted and named in `problems`, beside what `storage.readers.tool_images`
decides:

    malformed shape                   no label, or coordinates that are no finite numbers: dropped
    polyline, points, cuboid …        no box: dropped
    polygon, ellipse, mask, turned    the box around it is taken: a remark
    tag of a whole image              no box: a remark
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from storage import files
from storage.errors import SourceError
from storage.image_check import Frame
from storage.problems import Problems
from storage.readers.image_set import ImageSet
from storage.readers.outlines import Sides, around, turned_box, turned_ellipse
from storage.readers.subsets import choose_subset
from storage.readers.text import decode_xml, head_of
from storage.readers.tool_images import ToolImage, ToolObject, ToolSource, image_set_of, images_folder
from storage.readers.voc_annotation import finite_number

XML_NAME = "annotations.xml"
_ROOT = re.compile(rb"<annotations[\s>]")
_MIN_POLYGON = 3


def find_cvat(path: str) -> str | None:
    """Return the XML that this is or that lies in this folder; None where there is none of CVAT's."""
    location = path if path.lower().endswith(".xml") else files.join(path, XML_NAME)
    return location if _ROOT.search(head_of(location)) else None


def read_cvat(
    path: str, *, subset: str | None = None, images: str | None = None, frame: Frame = "upright"
) -> tuple[ImageSet, str]:
    """Read the images of an export; return them and the folder that their file names are relative to.

    Raises SourceError when there is no such XML, or none for images.
    """
    location = find_cvat(path)
    if location is None:
        raise SourceError(f"expected {XML_NAME} of CVAT (<annotations>), got none: {path}; check the path")
    data = files.read_bytes(location)
    try:
        root = ElementTree.fromstring(decode_xml(data, location))  # noqa: S314  # expat itself stops entity bombs since 2.4.1
    except ElementTree.ParseError as error:
        raise SourceError(f"expected XML of CVAT, got {error}: {location}; is the file complete?") from None
    if root.find("track") is not None:
        raise SourceError(
            f"expected 'CVAT for images 1.1', got tracks of a video: {location}; export it as 'CVAT for images 1.1'"
        )
    elements = root.findall("image")
    subsets = {element.get("subset", "") for element in elements}
    chosen = choose_subset(subsets, subset, location) if subset or len(subsets) > 1 else ""
    elements = [element for element in elements if element.get("subset", "") == chosen or not chosen]
    problems = Problems()
    images_root = images or images_folder(location.rpartition("/")[0] or ".", chosen)
    source = ToolSource(
        path=location,
        format="cvat",
        sha256=hashlib.sha256(chosen.encode() + b"\0" + data).hexdigest(),
        images_root=images_root,
        images=[_image(element, problems) for element in elements],
        classes=_declared(root),
        num_annotations=sum(shape.tag != "tag" for element in elements for shape in element),
        problems=problems,
        frame=frame,
        notes={"annotation_file": location.rpartition("/")[2]} | ({"subset": chosen} if chosen else {}),
    )
    return image_set_of(source), images_root


def _declared(root: Element) -> list[str]:
    """Return the labels of the project, those of skeletons' parts left out."""
    labels = (label for label in root.findall("meta//label") if label.find("parent") is None)
    return [name for label in labels if (name := (label.findtext("name") or "").strip())]


def _image(element: Element, problems: Problems) -> ToolImage:
    name = element.get("name", "")
    height, width = (int(finite_number(element.get(side)) or 0) for side in ("height", "width"))
    objects = (_object(shape, name, problems) for shape in element)
    return ToolImage(
        file_name=name,
        height=height,
        width=width,
        objects=tuple(object_ for object_ in objects if object_ is not None),
    )


def _object(shape: Element, image: str, problems: Problems) -> ToolObject | None:
    """Return the object of a shape; None, counted, where it is no box or malformed."""
    label = shape.get("label", "").strip()
    where = f"{image}: {label} {shape.tag}".rstrip()
    if shape.tag == "tag":
        problems.remark("tag of a whole image (no box)", where)
        return None
    if shape.tag not in _OUTLINES:
        problems.add(f"no box: {shape.tag} (dropped)", where)
        return None
    box = _OUTLINES[shape.tag](shape)
    angle = finite_number(shape.get("rotation"), 0.0) if shape.tag in _TURNING else 0.0
    if not label or box is None or angle is None:
        fields = ", ".join(f'{name}="{value[:40]}"' for name, value in shape.attrib.items())
        problems.add("malformed shape (dropped)", f"{image}: <{shape.tag} {fields}>")
        return None
    if angle:
        box = _TURNING[shape.tag](box, angle)
    if angle or shape.tag != "box":
        kind = "turned box" if shape.tag == "box" else shape.tag
        problems.remark(f"{kind} (the box around it taken)", where)
    return ToolObject(label=label, box=box)


def _numbers(shape: Element, names: Sequence[str]) -> list[float] | None:
    numbers = [finite_number(shape.get(name)) for name in names]
    known = [number for number in numbers if number is not None]
    return known if len(known) == len(numbers) else None


def _box(shape: Element) -> Sides | None:
    sides = _numbers(shape, ("xtl", "ytl", "xbr", "ybr"))
    return sides and (sides[0], sides[1], sides[2], sides[3])  # type: ignore[return-value]


def _polygon(shape: Element) -> Sides | None:
    points = [
        [finite_number(side) for side in point.split(",")]
        for point in shape.get("points", "").split(";")
        if point.strip()
    ]
    sound = [
        [x, y] for x, y in (point for point in points if len(point) == 2) if x is not None and y is not None
    ]
    return around(sound) if len(sound) == len(points) >= _MIN_POLYGON else None


def _ellipse(shape: Element) -> Sides | None:
    numbers = _numbers(shape, ("cx", "cy", "rx", "ry"))
    if numbers is None:
        return None
    x, y, rx, ry = numbers
    return x - abs(rx), y - abs(ry), x + abs(rx), y + abs(ry)


def _mask(shape: Element) -> Sides | None:
    numbers = _numbers(shape, ("left", "top", "width", "height"))
    if numbers is None:
        return None
    left, top, width, height = numbers
    return left, top, left + width, top + height


_TURNING = {"box": turned_box, "ellipse": turned_ellipse}
_OUTLINES = {"box": _box, "polygon": _polygon, "ellipse": _ellipse, "mask": _mask}
"""How to find the box of a shape by its element."""
