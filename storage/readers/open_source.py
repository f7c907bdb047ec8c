"""One door for every format that images come in: COCO, LVIS, Pascal VOC, YOLO, or just a folder.

In: a path, and where it is not plain from the path the format; the folder of the images where the format does not
say where they lie. Out: `Source`: the `ImageSet` and the folder that its file names are relative to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from storage import files
from storage.errors import ConfigError, SourceError
from storage.readers.class_list import with_classes
from storage.readers.coco import read_coco
from storage.readers.folder import IMAGE_SUFFIXES, read_folder
from storage.readers.image_set import ImageSet
from storage.readers.voc import USUAL_OPTIONS, VocOptions, read_voc
from storage.readers.voc_set import is_voc
from storage.readers.yolo import read_yolo
from storage.readers.yolo_yaml import find_yaml

Format = Literal["coco", "lvis", "voc", "yolo", "folder"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Images and where they lie."""

    images: ImageSet
    images_root: str

    def unlabeled(self) -> Source:
        """Return the same images as if nothing were known of them but the classes."""
        return replace(self, images=replace(self.images, truth=None))


def detect_format(path: str) -> Format:
    """Return the format by the looks of a path. Raises SourceError when there is nothing of the kind."""
    if path.lower().endswith(".json"):
        return "coco"
    if find_yaml(path) is not None:
        return "yolo"
    if files.is_local(path) and not files.local_path(path).is_dir():
        raise SourceError(
            f"expected a COCO file *.json, a YOLO data.yaml, or a folder, got neither: {path}; check the path"
        )
    if is_voc(path):
        return "voc"
    _refuse_annotated(path)
    return "folder"


def _refuse_annotated(path: str) -> None:
    """Raise SourceError where annotations lie among images: an annotated folder is not unlabeled by itself."""
    names = files.walk_files(path)
    stems = {_stem(name) for name in names if name.lower().endswith(IMAGE_SUFFIXES)}
    annotations = [name for name in names if _is_annotation(name, stems)]
    if stems and annotations:
        raise SourceError(
            f"expected a folder of images alone, got {len(annotations):,} files of annotations among "
            f"{len(stems):,} images, such as {annotations[0]}: {path}; {_advice(annotations)}, or take the images "
            "without labels by --format folder"
        )


def _is_annotation(name: str, image_stems: set[str]) -> bool:
    lower = name.lower()
    if lower.endswith((".xml", ".json", ".jsonl", ".csv", ".tfrecord")) or _stem(name) in {"obj", "classes"}:
        return not lower.endswith(IMAGE_SUFFIXES)
    return lower.endswith(".txt") and _stem(name) in image_stems


def _advice(annotations: Sequence[str]) -> str:
    suffix = annotations[0].lower().rpartition(".")[2]
    return {
        "xml": "Pascal VOC needs Annotations, JPEGImages and ImageSets/Main with a list of the names",
        "json": "give that file itself with --images if it is COCO, else export COCO from its tool",
        "txt": "YOLO labels need a data.yaml with `train: images` and `names: [...]` beside",
        "data": "YOLO labels need a data.yaml with `train: obj_train_data` and `names: [...]` beside",
    }.get(suffix, "export them as COCO from their tool")


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]


def open_source(
    path: str,
    *,
    kind: Format | None = None,
    images: str | None = None,
    subset: str | None = None,
    voc: VocOptions = USUAL_OPTIONS,
    classes: Sequence[str] = (),
    category_ids: Sequence[int] = (),
) -> Source:
    """Read a source of any format; `kind` None: as its path looks.

    `images` is the folder of the images that a COCO or LVIS file names, or that VOC's annotation files lie apart
    from; `subset` one of VOC's lists or YOLO's parts; `voc` what a VOC folder does not say. `classes` and their ids
    are the classes of a folder, and those that any other format is mapped to by name. Raises ConfigError where
    arguments and format do not fit together, SourceError where the source cannot be read.
    """
    kind = kind or detect_format(path)
    annotation_file = kind in {"coco", "lvis"}
    for value, fits, name, wanted in (
        (images, annotation_file or kind == "voc", "--images", "an annotation file or VOC"),
        (subset, kind in {"voc", "yolo"}, "--subset", "VOC and YOLO"),
        (voc.keep_difficult, kind == "voc", "--keep-difficult", "VOC"),
        (voc.corners != "auto", kind == "voc", "--corners", "VOC"),
        (voc.unannotated != "left-out", kind == "voc", "--unannotated", "VOC"),
    ):
        if value and not fits:
            raise ConfigError(
                f"expected {name} with {wanted} only, got a source of format {kind}: {path}; leave {name} out"
            )
    source = _read(path, kind, images, subset, voc)
    if not classes:
        return source
    if kind == "folder":
        own = replace(source.images, classes=tuple(classes), category_ids=tuple(category_ids))
        return replace(source, images=own)
    return replace(source, images=with_classes(source.images, classes, category_ids))


def _read(path: str, kind: Format, images: str | None, subset: str | None, voc: VocOptions) -> Source:
    match kind:
        case "coco" | "lvis":
            return Source(images=read_coco(path), images_root=_checked(images, path))
        case "voc":
            images = images and _checked(images, path)
            source = read_voc(path, subset=subset, images=images, options=voc)
            return Source(images=source, images_root=images or path)
        case "yolo":
            source, root = read_yolo(path, subset=subset or "train")
            return Source(images=source, images_root=root)
        case "folder":
            return Source(images=read_folder(path), images_root=path)


def _checked(images: str | None, path: str) -> str:
    if images is None:
        raise ConfigError(f"expected --images, the folder of the images that {path} names, got none; name it")
    if files.is_local(images) and not files.local_path(images).is_dir():
        raise ConfigError(
            f"expected a folder of images, got nothing there: --images {images}; check the path"
        )
    return images
