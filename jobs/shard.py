"""`mixpl shard`: images into tar shards, an image table, and `dataset.json`.

In: a COCO or LVIS file and the folder of its images, a folder as an annotation tool exports it, or a plain folder
of images. Out: the data set that `storage.dataset.dataset` describes: labeled where the source has annotations,
else unlabeled. Image bytes are kept as they are; what is missing or does not decode is named, counted and left out.
Killed and run again it continues.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import tyro

from jobs.console.progress import Progress
from storage import files
from storage.dataset.dataset import Dataset
from storage.dataset.skipped_report import SKIPPED_FILE
from storage.dataset.write_dataset import Written, write_dataset
from storage.errors import ConfigError
from storage.image_check import Frame
from storage.readers.class_list import ClassList, read_classes, with_classes
from storage.readers.coco import read_coco
from storage.readers.image_set import ImageSet
from storage.readers.open_source import Source, detect_format, open_source
from storage.readers.voc import VocOptions
from storage.readers.voc_corners import Corners
from storage.readers.voc_set import Unannotated
from storage.readers.yolo_columns import Columns

MAX_NAMED = 5
"""Images left out that are named on the screen; `skipped.json` names all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardConfig:
    """Pack images into tar shards and an image table."""

    source: tyro.conf.Positional[str]
    """COCO or LVIS annotation file, YOLO data.yaml, a folder of Pascal VOC, YOLO, CVAT, labelme, Label Studio,
    Roboflow or Datumaro (labeled where they have annotations), or a folder of images (unlabeled)."""
    out: str
    """Folder or URL to write the data set to."""
    images: str | None = None
    """Folder of the images that a COCO or LVIS file names, or that lie apart from the annotations of VOC, CVAT,
    labelme or Datumaro; the other formats say where theirs are."""
    format: Literal["auto", "coco", "lvis", "voc", "yolo", "cvat", "labelme", "datumaro", "folder"] = "auto"
    """What the source is; auto: by its path and what lies in it."""
    subset: str | None = None
    """Which part of a source in parts: a list of VOC's ImageSets/Main (else trainval or the only one); train, val
    or test of YOLO, of VOC without lists and of other tools (else train); all: every folder of VOC without
    lists."""
    unlabeled: bool = False
    """Write an unlabeled set; truth that is known is kept apart for analysis."""
    keep_difficult: bool = False
    """Take VOC's difficult objects as any other; else training does not see them and evaluation ignores them."""
    corners: Corners = "auto"
    """How the corners of a VOC folder count: pixels from 1, the last one in the box, as VOC itself does; edges from
    0; edges from 1, as Roboflow writes them. auto: as the whole set shows, and pixels from 1 where it does not."""
    unannotated: Unannotated = "left-out"
    """What an image of a VOC folder without an annotation file is, where others have one: left out, or empty, an
    image without objects."""
    columns: Columns = "auto"
    """What stands behind the class in YOLO's lines, where the set does not tell: a box with key points, corners of
    polygons, scores or a tracker's ids as last number."""
    boxes: Frame = "upright"
    """Whether boxes are of the image as EXIF turns it, or of its pixels as stored: then they are turned too."""
    name: str | None = None
    """Name of the data set in tables and reports; else that of the folder written to."""
    per_shard: int = 256
    """Images in one shard."""
    workers: int = 2
    """Processes."""
    strict: bool = False
    """Fail at the first image or annotation that would be left out."""
    hidden_truth: str | None = None
    """Truth of an unlabeled file, as `mixpl split` keeps it apart; analysis sees it, training does not."""
    classes_from: str | None = None
    """Data set whose classes a source takes, matched by name; a folder of images takes them as they are."""
    classes: str | None = None
    """The same with a list of names, one a line, a YOLO data.yaml, or a COCO file."""


def shard(config: ShardConfig) -> Dataset:
    """Write, or finish writing, a data set and return it.

    Raises ConfigError when source, arguments or the folder written to do not fit; the message says what to do.
    """
    opened, hidden = _source(config)
    source = opened.images
    name = config.name or config.out.rstrip("/").rsplit("/", 1)[-1]
    with Progress(name, total=len(source), unit="images", transient=True) as progress:
        written = write_dataset(
            config.out,
            source,
            images_root=opened.images_root,
            name=name,
            per_shard=config.per_shard,
            workers=config.workers,
            strict=config.strict,
            hidden=hidden,
            on_shard=progress.advance,
        )
    _report(written, source, hidden)
    return written.dataset


def _source(config: ShardConfig) -> tuple[Source, ImageSet | None]:
    """Return the images to write, and the truth that is kept apart."""
    kind = detect_format(config.source) if config.format == "auto" else config.format
    if config.hidden_truth and kind not in {"coco", "lvis"}:
        raise ConfigError(
            f"expected --hidden-truth with an annotation file only, got a source of format {kind}: "
            f"{config.source}; --unlabeled keeps the source's own truth apart"
        )
    classes, category_ids = _classes(config)
    source = open_source(
        config.source,
        kind=kind,
        images=config.images,
        subset=config.subset,
        voc=VocOptions(
            keep_difficult=config.keep_difficult,
            corners=config.corners,
            unannotated=config.unannotated,
        ),
        columns=config.columns,
        frame=config.boxes,
        classes=classes,
        category_ids=category_ids,
    )
    if config.unlabeled and config.hidden_truth:
        raise ConfigError(
            "expected --hidden-truth or --unlabeled, got both; --unlabeled keeps its own truth apart"
        )
    if config.unlabeled:
        return source.unlabeled(), source.images if source.images.truth is not None else None
    if config.hidden_truth:
        hidden = read_coco(config.hidden_truth)
        return source, with_classes(hidden, classes, category_ids) if classes else hidden
    return source, None


def _classes(config: ShardConfig) -> ClassList:
    """Return the classes that are asked for; none where the source's own are taken."""
    if config.classes and config.classes_from:
        raise ConfigError("expected --classes or --classes-from, got both; leave one out")
    if config.classes:
        return read_classes(config.classes)
    if config.classes_from:
        lender = Dataset.open(config.classes_from)
        return lender.classes, lender.category_ids
    return (), ()


def _report(written: Written, source: ImageSet, hidden: ImageSet | None) -> None:
    dataset = written.dataset
    boxes = f", {dataset.num_boxes:,} boxes" if dataset.num_boxes is not None else ", unlabeled"
    apart = ", truth kept apart for analysis" if hidden else ""
    state = " (was complete)" if written.was_complete else ""
    print(
        f"{dataset.root}: {dataset.name}, {dataset.num_images:,} images in {len(dataset.shards):,} shards"
        f"{boxes}, {len(dataset.classes)} classes{apart}{state}"
    )
    if written.num_resumed and not written.was_complete:
        print(f"  {written.num_resumed:,} shards stood from an earlier run")
    if source.num_ignored:
        print(f"  {source.num_ignored:,} other files in the folder are no images by their names")
    for name, note in source.notes.items():
        if isinstance(note, str | int):
            print(f"  note  {name.replace('_', ' ')}: {note}")
    for problems in (source.problems, hidden.problems if hidden else None):
        for line in problems.lines() if problems is not None else ():
            print(f"  note  {line}")
    if written.skipped:
        print(f"  {len(written.skipped):,} images left out, see {files.join(dataset.root, SKIPPED_FILE)}")
        for entry in written.skipped[:MAX_NAMED]:
            print(f"    {entry['file_name']}: {entry['reason']}")
        if len(written.skipped) > MAX_NAMED:
            print(f"    and {len(written.skipped) - MAX_NAMED:,} more")
