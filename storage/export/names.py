"""Where the files of single images go: formats that keep a file an image go by the image's file name.

In: file names of images. Out: paths below the folder of an export, `images.csv`, unpacked image files.
Guarantees: nothing is written outside that folder, and no two images share a label file.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from storage import files
from storage.dataset.dataset import Dataset
from storage.errors import StoreError
from storage.export.labeled_images import LabeledImages

LIST_FILE = "images.csv"


def stem_of(file_name: str) -> str:
    """Return the name that an image's label file has: its own without the ending, folders kept."""
    return str(PurePosixPath(file_name).with_suffix(""))


def inside(folder: Path, name: str) -> Path:
    """Return a path below the folder, which then exists up to its last part."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def check_file_names(dataset: Dataset, *, stems_differ: bool) -> None:
    """Raise ValueError when an image's name would lead out of a folder, or two would share a label file."""
    names = dataset.images()["file_name"]
    leaving = pc.match_substring_regex(names, r"^/|^$|(^|/)\.\.(/|$)|[\x00-\x1f\\]")
    if pc.any(leaving).as_py():
        raise StoreError(
            f"expected file names that stay in a folder, got {names.filter(leaving)[0].as_py()!r}: "
            f"{dataset.root}; rename the image, or export as coco-results"
        )
    if stems_differ:
        stems = pc.replace_substring_regex(names, r"([^/])\.[^./]*$", r"\1")
        if pc.count_distinct(stems).as_py() < len(stems):
            (twice, _), *_ = Counter(stems.to_pylist()).most_common(1)
            both = names.filter(pc.equal(stems, twice)).to_pylist()[:2]
            raise StoreError(
                f"expected image names that differ by more than their ending, got {both[0]} and {both[1]}: "
                f"{dataset.root}; their label files would be one, rename one or export as coco"
            )


def listed(batches: Iterable[LabeledImages], folder: Path) -> Iterator[LabeledImages]:
    """Pass the images on, and write into `images.csv` which id each file name has."""
    with (folder / LIST_FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image_id", "file_name", "width", "height"])
        for batch in batches:
            triples = zip(batch.image_ids.tolist(), batch.file_names, batch.sizes.tolist(), strict=True)
            writer.writerows([image_id, name, width, height] for image_id, name, (height, width) in triples)
            yield batch


def unpacked(batches: Iterable[LabeledImages], folder: Path, dataset: Dataset) -> Iterator[LabeledImages]:
    """Pass the images on, and write each one's original bytes below the folder."""
    for batch in batches:
        places = dataset.images().select(["shard", "offset", "size"]).take(pa.array(batch.rows)).to_pylist()
        for name, place in zip(batch.file_names, places, strict=True):
            path = dataset.shard_path(place["shard"])
            inside(folder, name).write_bytes(files.read_range(path, place["offset"], place["size"]))
        yield batch
