"""Where the files of single images go: formats that keep a file an image go by the image's file name.

In: file names of images. Out: paths below the folder of an export, `images.csv`, unpacked image files.
Guarantees: nothing is written outside that folder, and no two images share a file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from storage import files
from storage.dataset.dataset import Dataset
from storage.errors import StoreError
from storage.export.labeled_images import IMAGE_SCHEMA, LabeledImages
from storage.export.queries import copy_images, image_texts

LIST_FILE = "images.csv"

_CONTROL = "\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff"
"""No XML holds them, or a list of names ends a line there."""
_ODD_NAME = rf"^$|[{_CONTROL}\\]|^/|//|/$|(^|/)\.\.?(/|$)"
_ODD_PART = re.compile(rf"[{_CONTROL}\\]|(?<![^/])/|/\Z|(?<![^/])\.\.?(?![^/])")


def stem_of(file_name: str) -> str:
    """Return the name that an image's label file has: its own without the ending, folders kept."""
    return str(PurePosixPath(file_name).with_suffix(""))


def safe_names(dataset: Dataset, *, stems_differ: bool) -> pa.ChunkedArray:
    """Return the name that each image's file has in an export: its own, made safe where it is none of a file.

    A backslash, a control character, an absolute path or a `..` is written as in URLs: `a\\b.jpg` as `a%5Cb.jpg`.
    Raises StoreError when two images would share a file, or by `stems_differ` a label file.
    """
    own = names = dataset.images()["file_name"]
    odd = pc.match_substring_regex(own, _ODD_NAME)
    if pc.any(odd).as_py():
        safe = [_safe(name) for name in own.filter(odd).to_pylist()]
        names = pa.chunked_array([pc.replace_with_mask(own.combine_chunks(), odd.combine_chunks(), safe)])
        if pc.count_distinct(names).as_py() < pc.count_distinct(own).as_py():
            raise _share_a_file(
                names, own, dataset, "by more than how a backslash or control character is written"
            )
    if stems_differ:
        stems = pc.replace_substring_regex(names, r"([^/])\.[^./]*$", r"\1")
        if pc.count_distinct(stems).as_py() < len(stems):
            raise _share_a_file(stems, own, dataset, "by more than their ending")
    return names


def named(batches: Iterable[LabeledImages], names: pa.ChunkedArray) -> Iterator[LabeledImages]:
    """Pass the images on under the names that `names` has for the rows of the image table."""
    column = IMAGE_SCHEMA.get_field_index("file_name")
    for batch in batches:
        own = names.take(batch.images["row"])
        yield replace(batch, images=batch.images.set_column(column, IMAGE_SCHEMA.field(column), own))


def _safe(name: str) -> str:
    """Return a name with what is odd in it as %XX."""
    return _ODD_PART.sub(lambda odd: "".join(f"%{byte:02X}" for byte in odd[0].encode()), name) or "%"


def _share_a_file(written: pa.ChunkedArray, own: pa.ChunkedArray, dataset: Dataset, how: str) -> StoreError:
    (twice, _), *_ = Counter(written.to_pylist()).most_common(1)
    one, other = own.filter(pc.equal(written, twice)).to_pylist()[:2]
    return StoreError(
        f"expected image names that differ {how}, got {one!r} and {other!r}: {dataset.root}; their files would be "
        "one, rename one or export as coco"
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
            try:
                content = files.read_range(path, place["offset"], place["size"])
            except OSError as error:
                raise StoreError(f"expected the bytes of {name}, got {error}: {path}") from error
            write_below(folder, name, content)
        yield batch


def write_below(folder: Path, name: str, content: bytes) -> None:
    """Write a file below the folder, and the folders between where they are missing."""
    path = folder / name
    try:
        path.write_bytes(content)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
