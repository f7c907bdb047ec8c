"""`mixpl shard`: images into tar shards, an image table, and `dataset.json`.

In: a COCO file and the folder of its images, or a plain folder of images. Out: the data set that
`storage.dataset` describes. A COCO file with annotations makes a labeled set, one without makes an unlabeled
set, and so does a folder. Image bytes are kept as they are; what is missing or does not decode is named,
counted and left out. Killed and run again it continues.
"""

from __future__ import annotations

from dataclasses import dataclass

import tyro
from tqdm import tqdm

from storage import files
from storage.coco import read_coco
from storage.dataset import Dataset
from storage.dataset_writer import SKIPPED_FILE, Written, write_dataset
from storage.image_set import ImageSet, read_folder

MAX_NAMED = 5
"""Images left out that are named on the screen; `skipped.json` names all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardConfig:
    """Pack images into tar shards and an image table."""

    source: tyro.conf.Positional[str]
    """COCO annotation file (labeled if it has annotations), or a folder of images (unlabeled)."""
    out: str
    """Folder or URL to write the data set to."""
    images: str | None = None
    """Folder of the images that the annotation file names; not needed for a folder of images."""
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
    """Data set that lends its classes to a folder of images."""


def shard(config: ShardConfig) -> Dataset:
    """Write, or finish writing, a data set and return it.

    Raises ValueError when source, arguments or the folder written to do not fit; the message says what to do.
    """
    source, images_root = _source(config)
    hidden = read_coco(config.hidden_truth) if config.hidden_truth else None
    name = config.name or config.out.rstrip("/").rsplit("/", 1)[-1]
    with tqdm(total=len(source), unit=" images", desc=name, leave=False, disable=None) as progress:
        written = write_dataset(
            config.out,
            source,
            images_root=images_root,
            name=name,
            per_shard=config.per_shard,
            workers=config.workers,
            strict=config.strict,
            hidden=hidden,
            on_shard=progress.update,
        )
    _report(written, source, hidden)
    return written.dataset


def _source(config: ShardConfig) -> tuple[ImageSet, str]:
    """Return the images and the folder where they lie."""
    if config.source.lower().endswith(".json"):
        if config.images is None:
            raise ValueError(
                f"expected --images, the folder of the images that {config.source} names, got none"
            )
        if files.is_local(config.images) and not files.local_path(config.images).is_dir():
            raise ValueError(f"expected a folder of images, got nothing there: --images {config.images}")
        if config.classes_from is not None:
            raise ValueError("expected --classes-from with a folder of images only, got an annotation file")
        return read_coco(config.source), config.images
    if files.is_local(config.source) and not files.local_path(config.source).is_dir():
        raise ValueError(f"expected a COCO file *.json or a folder of images, got neither: {config.source}")
    if config.images is not None or config.hidden_truth is not None:
        raise ValueError(
            "expected --images and --hidden-truth with an annotation file only, got a folder: "
            f"{config.source}"
        )
    lender = Dataset.open(config.classes_from) if config.classes_from else None
    classes, ids = (lender.classes, lender.category_ids) if lender else ((), ())
    return read_folder(config.source, classes=classes, category_ids=ids), config.source


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
    for problems in (source.problems, hidden.problems if hidden else None):
        for line in problems.lines() if problems else ():
            print(f"  note  {line}")
    if written.skipped:
        print(f"  {len(written.skipped):,} images left out, see {files.join(dataset.root, SKIPPED_FILE)}")
        for entry in written.skipped[:MAX_NAMED]:
            print(f"    {entry['file_name']}: {entry['reason']}")
        if len(written.skipped) > MAX_NAMED:
            print(f"    and {len(written.skipped) - MAX_NAMED:,} more")
