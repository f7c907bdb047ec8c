"""One door for every format that images come in: those of annotation tools, or just a folder.

In: a path, and where it is not plain from the path the format; the folder of the images where the format does not
say where they lie. Out: `Source`: the `ImageSet` and the folder that its file names are relative to. A folder is of
the first format of which it holds the files; one with annotations that no reader knows is refused, and never
unlabeled by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from storage import files
from storage.errors import ConfigError, SourceError
from storage.image_check import Frame
from storage.readers.class_list import with_classes
from storage.readers.coco_folder import is_coco, json_files, read_coco_folder
from storage.readers.cvat import find_cvat, read_cvat
from storage.readers.datumaro import find_datumaro, read_datumaro
from storage.readers.folder import read_folder
from storage.readers.image_set import ImageSet
from storage.readers.labelme import is_labelme, read_labelme
from storage.readers.unknown_annotations import LOOKED_FOR, refuse_annotated
from storage.readers.voc import USUAL_OPTIONS, VocOptions, read_voc
from storage.readers.voc_set import is_voc
from storage.readers.yolo import read_yolo
from storage.readers.yolo_columns import Columns
from storage.readers.yolo_layouts import find_class_list, find_darknet
from storage.readers.yolo_yaml import find_yaml

Format = Literal["coco", "lvis", "voc", "yolo", "cvat", "labelme", "datumaro", "folder"]
_WITH_IMAGES = {"coco", "lvis", "voc", "cvat", "labelme", "datumaro"}
"""Formats whose annotations may lie apart from their images."""
_IN_PARTS = {"coco", "lvis", "voc", "yolo", "cvat", "datumaro"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Images and where they lie."""

    images: ImageSet
    images_root: str

    def unlabeled(self) -> Source:
        """Return the same images as if nothing were known of them but the classes."""
        return replace(self, images=replace(self.images, truth=None))


def detect_format(path: str) -> Format:
    """Return the format by the looks of a path and what lies in it.

    Raises SourceError when there is nothing of the kind, or annotations of a kind that no reader knows.
    """
    if files.is_local(path) and not files.exists(path):
        raise SourceError(f"expected an annotation file or a folder, got neither: {path}; check the path")
    kind = next((kind for kind, fits in _LAYOUTS if fits(path)), None)
    if kind is not None:
        return kind
    if path.lower().endswith(".json"):
        return "labelme" if is_labelme(path) else "coco"
    if files.is_local(path) and not files.local_path(path).is_dir():
        raise SourceError(
            f"expected an annotation file or a folder, got a file of another kind: {path}; looked for "
            f"{LOOKED_FOR}: give one of these, or a folder of images"
        )
    names = files.walk_files(path)
    locations = [files.join(path, name) for name in json_files(names)]
    for json_kind, is_kind in _JSON_FILES:
        if any(map(is_kind, locations)):
            return json_kind
    refuse_annotated(path, names)
    return "folder"


_LAYOUTS: tuple[tuple[Format, Callable[[str], object]], ...] = (
    ("yolo", find_yaml),
    ("yolo", find_darknet),
    ("cvat", find_cvat),
    ("voc", is_voc),
    ("yolo", find_class_list),
    ("datumaro", find_datumaro),
)
"""How each format is known by the names of files, in the order in which they are tried."""
_JSON_FILES: tuple[tuple[Format, Callable[[str], bool]], ...] = (("labelme", is_labelme), ("coco", is_coco))
"""How a format is known by one of its JSON files."""


def open_source(
    path: str,
    *,
    kind: Format | None = None,
    images: str | None = None,
    subset: str | None = None,
    voc: VocOptions = USUAL_OPTIONS,
    columns: Columns = "auto",
    frame: Frame = "upright",
    classes: Sequence[str] = (),
    category_ids: Sequence[int] = (),
) -> Source:
    """Read a source of any format; `kind` None: as its path looks.

    `images` is the folder of the images that annotation files name or lie apart from; `subset` one of the parts of
    a source in parts; `voc` what a VOC folder does not say; `columns` what YOLO's lines do not say; `frame` what
    the boxes are of. `classes` and their ids are the classes of a folder, and those that any other format is
    mapped to by name. Raises ConfigError where arguments and format do not fit together, SourceError where the
    source cannot be read.
    """
    kind = kind or detect_format(path)
    for value, fits, name, wanted in (
        (images, kind in _WITH_IMAGES, "--images", "an annotation file"),
        (subset, kind in _IN_PARTS and not path.lower().endswith(".json"), "--subset", "sources in parts"),
        (voc.keep_difficult, kind == "voc", "--keep-difficult", "VOC"),
        (voc.corners != "auto", kind == "voc", "--corners", "VOC"),
        (voc.unannotated != "left-out", kind == "voc", "--unannotated", "VOC"),
        (columns != "auto", kind == "yolo", "--columns", "YOLO"),
        (frame != "upright", kind != "folder", "--boxes stored", "boxes"),
    ):
        if value and not fits:
            raise ConfigError(
                f"expected {name} with {wanted} only, got a source of format {kind}: {path}; leave {name} out"
            )
    source = _read(path, kind, images, subset, voc, columns, frame)
    options = {"columns": columns, "boxes": frame}
    notes = {name: option for name, option in options.items() if option not in {"auto", "upright"}}
    source = replace(
        source, images=replace(source.images, frame=frame, notes={**source.images.notes, **notes})
    )
    if not classes:
        return source
    if kind == "folder":
        own = replace(source.images, classes=tuple(classes), category_ids=tuple(category_ids))
        return replace(source, images=own)
    return replace(source, images=with_classes(source.images, classes, category_ids))


def _read(
    path: str,
    kind: Format,
    images: str | None,
    subset: str | None,
    voc: VocOptions,
    columns: Columns,
    frame: Frame,
) -> Source:
    if images is not None and files.is_local(images) and not files.local_path(images).is_dir():
        raise ConfigError(
            f"expected a folder of images, got nothing there: --images {images}; check the path"
        )
    match kind:
        case "coco" | "lvis":
            source, root = read_coco_folder(path, subset=subset, images=images)
        case "voc":
            source, root = (
                read_voc(path, subset=subset, images=images, options=voc, frame=frame),
                images or path,
            )
        case "yolo":
            source, root = read_yolo(path, subset=subset or "train", columns=columns, frame=frame)
        case "cvat":
            source, root = read_cvat(path, subset=subset, images=images, frame=frame)
        case "labelme":
            source, root = read_labelme(path, images=images, frame=frame)
        case "datumaro":
            source, root = read_datumaro(path, subset=subset, images=images, frame=frame)
        case "folder":
            source, root = read_folder(path), path
    return Source(images=source, images_root=root)
