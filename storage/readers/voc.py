"""Reader of Pascal VOC folders.

In: a VOC folder (`Annotations/`, `ImageSets/Main/`, `JPEGImages/`), or a folder of several (`VOCdevkit/VOC2007`,
`VOC2012`), and the name of a list in `ImageSets/Main`. Out: `ImageSet`, file names relative to the folder given.
VOC's pixels are counted from 1 and its boxes include their last pixel: a box from xmin to xmax covers
xmin - 1 .. xmax here. Other tools write edges counted from 0: a set with a corner from 0 up to 1 is taken so, which
is a remark. The image id is the digits of VOC's own id (`2008_000002` is 2008000002), or a number from
1 where those are not unique. `difficult` objects are kept apart, or as any other where the caller says so.

What is wrong in single entries is counted and named in `problems`, beside what `storage.readers.clean_annotations`
decides:

    no or broken annotation file      the image is left out; where no image of the list has one the set is unlabeled
    malformed object                  no name, or a bndbox without four finite numbers: dropped
    no bndbox                         the box around its polygon or robndbox is taken: a remark
    image listed twice                the first is kept
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from storage import files
from storage.errors import SourceError
from storage.problems import Problems
from storage.readers.clean_annotations import Annotations, truth_of
from storage.readers.folder import size_of_file
from storage.readers.image_set import ImageSet
from storage.readers.text import decode_xml, read_lines
from storage.readers.voc_object import VocObject, finite_number, parse_object

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The classes of Pascal VOC, in its order."""
MAX_DIGITS = 19
"""An id of fewer digits fits an int64."""
_LIST_FLAG = re.compile(r"\s+-?[01]$")
"""Lists of one class have a second column."""


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

    @property
    def num_objects(self) -> int:
        """Return the number of objects, sound or not."""
        return len(self.objects) + len(self.malformed)


def is_voc(path: str) -> bool:
    """Return whether this is a VOC folder or a folder of them."""
    return bool(_folders(path))


def read_voc(path: str, *, subset: str = "trainval", keep_difficult: bool = False) -> ImageSet:
    """Read the images of `ImageSets/Main/SUBSET.txt`.

    The classes are VOC's twenty where no other occurs, else those that occur, by name. Raises SourceError
    when the folder is no VOC folder or has no such list.
    """
    read = _Reading(path, subset)
    if not read.images:
        raise SourceError(f"expected images in the list {subset}, got none: {path}; choose another --subset")
    annotated = [image for image in read.images if image.annotation is not None]
    images = annotated or read.images
    for image in read.images if annotated else ():
        if image.annotation is None:
            read.problems.add("no annotation file (image left out)", image.file_name)
    class_names = _classes_of(annotated)
    sizes_B2 = np.array([image.size for image in images], np.int32).reshape(-1, 2)
    truth = None
    if annotated:
        truth = truth_of(
            _annotations(images, class_names, keep_difficult, read.problems), sizes_B2, read.problems
        )
    return ImageSet(
        path=path,
        sha256=read.digest.hexdigest(),
        classes=class_names,
        category_ids=tuple(range(1, len(class_names) + 1)),
        image_ids=_image_ids([image.name for image in images]),
        file_names=tuple(image.file_name for image in images),
        sizes=sizes_B2,
        truth=truth,
        split=None,
        problems=read.problems,
        num_annotations=sum(image.annotation.num_objects for image in annotated if image.annotation),
        notes={"format": "voc", "subset": subset} | ({"difficult": "kept"} if keep_difficult else {}),
    )


def parse_voc(data: bytes) -> VocImage:
    """Return what an annotation file says. Raises SourceError when it is no XML."""
    try:
        root = ElementTree.fromstring(decode_xml(data, "the file"))  # noqa: S314  # expat itself stops entity bombs since 2.4.1
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: of its encoding
        raise SourceError(f"expected a VOC annotation file, got {error}; correct it") from None
    objects = [parse_object(element) for element in root.findall("object")]
    height, width = (finite_number(root.findtext(f"size/{side}")) for side in ("height", "width"))
    return VocImage(
        file_name=root.findtext("filename"),
        height=int(height or 0),
        width=int(width or 0),
        objects=tuple(object_ for object_ in objects if isinstance(object_, VocObject)),
        malformed=tuple(object_ for object_ in objects if isinstance(object_, str)),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Listed:
    """An image of the list."""

    name: str
    file_name: str
    size: tuple[int, int]
    annotation: VocImage | None


class _Reading:
    """All images of one list, in one folder or several."""

    def __init__(self, path: str, subset: str) -> None:
        self.images: list[_Listed] = []
        self.problems = Problems()
        self.digest = hashlib.sha256(subset.encode())
        self._path = path
        folders = _folders(path)
        if not folders:
            raise SourceError(
                "expected a VOC folder with Annotations, ImageSets/Main and JPEGImages, or a folder of such, "
                f"got neither: {path}; check the path"
            )
        lists = {
            folder: files.join(path, *folder, "ImageSets", "Main", f"{subset}.txt") for folder in folders
        }
        lists_there = {folder: location for folder, location in lists.items() if files.exists(location)}
        if not lists_there:
            raise SourceError(
                f"expected a list of images, got no {lists[folders[0]]}; name one of its lists with --subset"
            )
        for folder, location in lists_there.items():
            names = [_LIST_FLAG.sub("", line.strip()) for line in read_lines(location)]
            for name, times in Counter(name for name in names if name).items():
                if times > 1:
                    self.problems.add("image listed twice (first kept)", name)
                self._read(folder, name)

    def _read(self, folder: tuple[str, ...], name: str) -> None:
        where = files.join("", *folder, "Annotations", f"{name}.xml")
        data, annotation = b"", None
        try:
            data = files.read_bytes(files.join(self._path, where))
            annotation = parse_voc(data)
        except FileNotFoundError:
            pass
        except SourceError as error:
            self.problems.add("broken annotation file (image left out)", f"{where}: {error}")
            return
        suffix = PurePosixPath(annotation.file_name or "").suffix if annotation else ""
        file_name = files.join("", *folder, "JPEGImages", f"{name}{suffix or '.jpg'}")
        size = (annotation.height, annotation.width) if annotation else (0, 0)
        self.digest.update(f"{file_name} {len(data)} ".encode() + data)
        self.images.append(
            _Listed(
                name=name,
                file_name=file_name,
                size=size if all(size) else size_of_file(files.join(self._path, file_name)),
                annotation=annotation,
            )
        )


def _folders(path: str) -> list[tuple[str, ...]]:
    """Return the VOC folders at or right below a path, as parts of a relative path."""
    candidates: list[tuple[str, ...]] = [(), *((name,) for name in files.list_folders(path))]
    needed = (("JPEGImages",), ("ImageSets", "Main"))
    return [
        folder
        for folder in candidates
        if all(files.exists(files.join(path, *folder, *names)) for names in needed)
    ]


def _classes_of(images: Sequence[_Listed]) -> tuple[str, ...]:
    names = {object_.name for image in images if image.annotation for object_ in image.annotation.objects}
    return VOC_CLASSES if names <= {*VOC_CLASSES} else tuple(sorted(names))


def _image_ids(names: Sequence[str]) -> tuple[int, ...]:
    digits = [name.replace("_", "") for name in names]
    if len({int(text) for text in digits if text.isdecimal() and len(text) < MAX_DIGITS}) == len(names):
        return tuple(map(int, digits))
    return tuple(range(1, len(names) + 1))


def _annotations(
    images: Sequence[_Listed], classes: Sequence[str], keep_difficult: bool, problems: Problems
) -> Annotations:
    index = {name: row for row, name in enumerate(classes)}
    rows: list[tuple[int, VocObject]] = []
    for row, image in enumerate(images):
        assert image.annotation is not None, "images without one are left out before"
        for reason in image.annotation.malformed:
            problems.add("malformed object (dropped)", f"{image.file_name}: {reason}")
        for object_ in image.annotation.objects:
            if object_.outline != "bndbox":
                place = f"{image.file_name}: {object_.name} with a {object_.outline}"
                problems.remark("no bndbox (the box around its outline taken)", place)
            rows.append((row, object_))
    count = len(rows)
    boxes_A4 = _edges([object_ for _, object_ in rows])

    def describe(row: int) -> str:
        image, object_ = rows[row]
        return f"{images[image].file_name}: {object_.name} {[*object_.box]}"

    from_zero_A = np.array([_is_from_zero(object_) for _, object_ in rows], bool)
    problems.remark_rows(
        "corner from 0 (all corners of the set taken as edges from 0)", np.flatnonzero(from_zero_A), describe
    )
    return Annotations(
        images_A=np.array([row for row, _ in rows], np.int64),
        categories_A=np.array([index[object_.name] for _, object_ in rows], np.int32),
        boxes_A4=boxes_A4,
        areas_A=np.full(count, np.nan),
        scores_A=np.array([object_.score for _, object_ in rows], np.float32),
        crowd_A=np.zeros(count, bool),
        difficult_A=np.array([object_.difficult and not keep_difficult for _, object_ in rows], bool),
        describe=describe,
    )


def _edges(objects: Sequence[VocObject]) -> npt.NDArray[np.float64]:
    """Return the edges of all boxes: VOC counts pixels from 1, unless some box of the set begins before."""
    boxes_A4 = np.array([object_.box for object_ in objects], np.float64).reshape(-1, 4)
    if not any(map(_is_from_zero, objects)):
        pixels_A = np.array([object_.outline == "bndbox" for object_ in objects], bool)
        boxes_A4[pixels_A, :2] -= 1
    return boxes_A4


def _is_from_zero(object_: VocObject) -> bool:
    return object_.outline == "bndbox" and 0 <= min(object_.box[:2]) < 1
