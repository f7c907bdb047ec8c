"""Where the files of single images go: formats that keep a file an image go by the image's file name.

In: file names of images. Out: paths below the folder of an export, `images.csv`, unpacked image files.
Guarantees: nothing is written outside that folder, and no two images share a label file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from storage import files
from storage.dataset.dataset import Dataset
from storage.errors import StoreError
from storage.export.labeled_images import IMAGE_SCHEMA, LabeledImages
from storage.export.queries import copy_images, image_texts

LIST_FILE = "images.csv"


def stem_of(file_name: str) -> str:
    """Return the name that an image's label file has: its own without the ending, folders kept."""
    return str(PurePosixPath(file_name).with_suffix(""))


def check_file_names(dataset: Dataset, *, stems_differ: bool) -> None:
    """Raise StoreError when an image's name would lead out of a folder, or two would share a label file."""
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


def write_image_files(
    folder: Path,
    batches: Iterable[LabeledImages],
    query: str,
    path_of: Callable[[str], str],
    **parameters: object,
) -> list[str]:
    """Write the text that a query has for each image, and `images.csv`; return the file names of the images.

    `path_of` gives the path of the text below the folder, by file name. A plain loop: COPY can write a file a
    value, but encodes the value into the name of a folder.
    """
    images = [IMAGE_SCHEMA.empty_table()]
    for batch, texts in image_texts(query, batches, **parameters):
        images.append(batch.images)
        for name, text in zip(batch.file_names, texts, strict=True):
            write_below(folder, path_of(name), text.encode())
    listed = pa.concat_tables(images)
    copy_images("image_list", listed, folder / LIST_FILE)
    return [str(name) for name in listed["file_name"].to_pylist()]


def unpacked(batches: Iterable[LabeledImages], folder: Path, dataset: Dataset) -> Iterator[LabeledImages]:
    """Pass the images on, and write each one's original bytes below the folder."""
    for batch in batches:
        places = dataset.images().select(["shard", "offset", "size"]).take(batch.images["row"]).to_pylist()
        for name, place in zip(batch.file_names, places, strict=True):
            path = dataset.shard_path(place["shard"])
            write_below(folder, name, files.read_range(path, place["offset"], place["size"]))
        yield batch


def write_below(folder: Path, name: str, content: bytes) -> None:
    """Write a file below the folder, and the folders between where they are missing."""
    path = folder / name
    try:
        path.write_bytes(content)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
