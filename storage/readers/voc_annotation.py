"""One annotation file of Pascal VOC, and the objects in it.

In: the bytes of an XML file. Out: `VocImage`: what it says of its image, its `VocObject`s, and in a few words what
is wrong with each other object. Where an object has no `bndbox`, as tools for polygons and turned boxes write it,
its box is that around the `polygon` or `robndbox`. Its `part`s are no objects.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from storage.errors import SourceError
from storage.readers.outlines import Sides, around, turned_box
from storage.readers.text import decode_xml

Outline = Literal["bndbox", "polygon", "robndbox"]
LABEL_STUDIO = "Label Studio"
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_TURNED = ("cx", "cy", "w", "h", "angle")
_HEAD = 1 << 16
"""Letters of a file that are looked at for its first element."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VocObject:
    """One object of an annotation file."""

    name: str
    box: Sides
    """xyxy as written: of a bndbox the pixels, of another outline the edges."""
    outline: Outline
    """What the box is taken from."""
    difficult: bool
    score: float
    """Of `<score>` or `<confidence>`, which only tools write; else 1."""
    has_score: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class VocImage:
    """What an annotation file says."""

    file_name: str | None
    height: int
    width: int
    """0 where it does not say."""
    objects: tuple[VocObject, ...]
    malformed: tuple[str, ...]
    """What is wrong with each object that has no name, box or score."""
    tool: str
    """Of the few that name themselves: `Label Studio`, else empty."""

    @property
    def num_objects(self) -> int:
        """Return the number of objects, sound or not."""
        return len(self.objects) + len(self.malformed)


def is_voc_annotation(data: bytes) -> bool:
    """Return whether a file is XML that begins as an annotation file of VOC does."""
    try:
        text = decode_xml(data, "the file")
    except SourceError:
        text = data.decode(
            "latin-1"
        )  # enough to see its first element, for one that is named when it is read
    parser: Any = ElementTree.XMLPullParser(["start"])
    try:
        parser.feed(text[:_HEAD])
        elements = [element for _, element in parser.read_events()]
    except (ElementTree.ParseError, ValueError):
        return False
    return bool(elements) and elements[0].tag.lower() == "annotation"


def parse_voc(data: bytes) -> VocImage:
    """Return what an annotation file says. Raises SourceError when it is no XML."""
    try:
        root = ElementTree.fromstring(decode_xml(data, "the file"))  # noqa: S314  # expat itself stops entity bombs since 2.4.1
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: of its encoding
        raise SourceError(f"expected a VOC annotation file, got {error}; correct it") from None
    if root.tag.lower() != "annotation":
        raise SourceError(f"expected a VOC annotation file, got <{root.tag}>; correct it")
    objects = [object_ for element in root.iter("object") for object_ in parse_object(element)]
    height, width = (finite_number(root.findtext(f"size/{side}")) for side in ("height", "width"))
    return VocImage(
        file_name=root.findtext("filename"),
        height=int(height or 0),
        width=int(width or 0),
        objects=tuple(object_ for object_ in objects if isinstance(object_, VocObject)),
        malformed=tuple(object_ for object_ in objects if isinstance(object_, str)),
        tool=LABEL_STUDIO if (root.findtext("owner/name") or "").strip() == LABEL_STUDIO else "",
    )


def parse_object(element: Element) -> list[VocObject | str]:
    """Return an object, one for each of its boxes, or what is wrong with it."""
    name = (element.findtext("name") or "").strip()
    if not name:
        return ["no name"]
    outlines: tuple[Outline, ...] = ("bndbox", "polygon", "robndbox")
    outline = next((kind for kind in outlines if element.find(kind) is not None), None)
    if outline is None:
        return [f"{name} has no bndbox, polygon or robndbox"]
    return [_parse_outline(name, element, outline, shape) for shape in element.findall(outline)]


def _parse_outline(name: str, element: Element, outline: Outline, shape: Element) -> VocObject | str:
    box = {"bndbox": _bndbox, "polygon": _polygon, "robndbox": _turned_box}[outline](shape)
    if box is None:
        texts = ", ".join(f"{side.tag} {(side.text or '').strip()!r}" for side in shape)
        return f"{name}: {outline} with {texts or 'nothing in it'}"
    written_score = element.findtext("confidence", element.findtext("score"))
    score = finite_number(written_score, 1.0)
    if score is None or not 0 <= score <= 1:
        return f"{name}: a score outside 0..1"
    difficult = (element.findtext("difficult") or "").strip().lower() in {"1", "1.0", "true", "yes"}
    return VocObject(
        name=name,
        box=box,
        outline=outline,
        difficult=difficult,
        score=score,
        has_score=written_score is not None,
    )


def finite_number(text: str | None, default: float | None = None) -> float | None:
    """Return a finite number, the default where there is no text, None where it is something else."""
    try:
        value = default if text is None else float(text)
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) else None


def _bndbox(shape: Element) -> Sides | None:
    sides = [finite_number(shape.findtext(side)) for side in _SIDES]
    left, top, right, bottom = sides
    if left is None or top is None or right is None or bottom is None:
        return None
    return left, top, right, bottom


def _polygon(shape: Element) -> Sides | None:
    """Return the box around x1, y1, x2, y2 …, or around `pt` elements with x and y."""
    read_xs, read_ys = (
        [finite_number(side.text) for side in shape.iter() if re.fullmatch(rf"{axis}\d*", side.tag)]
        for axis in "xy"
    )
    xs, ys = [x for x in read_xs if x is not None], [y for y in read_ys if y is not None]
    if len(xs) < 3 or not len(xs) == len(ys) == len(read_xs) == len(read_ys):
        return None
    return around([*zip(xs, ys, strict=True)])


def _turned_box(shape: Element) -> Sides | None:
    x, y, width, height, angle = (finite_number(shape.findtext(side)) for side in _TURNED)
    if x is None or y is None or width is None or height is None or angle is None:
        return None
    upright = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return turned_box(upright, math.degrees(angle))
