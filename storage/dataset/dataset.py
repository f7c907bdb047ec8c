"""A sharded data set, as everything above storage sees it.

In: the folder or URL that `mixpl shard` wrote. Out: `Dataset`: classes, counts, the image table, where the
bytes of each image lie, and the label stores of its truth. `dataset.json` is written last, so a folder that
opens is complete.

    ROOT/dataset.json                          classes, counts, source, split; written last
    ROOT/images.parquet                        one row an image: key, shard, byte range, size
    ROOT/shard-000000.tar ...                  webdataset: KEY.jpg (original bytes) and KEY.json
    ROOT/ground_truth/shard-000000.parquet     labeled sets: truth to train on and to score against
    ROOT/hidden_truth/shard-000000.parquet     unlabeled sets whose truth is known: for analysis only
    ROOT/skipped.json                          what was left out, and why
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage import files
from storage.class_names import difference
from storage.errors import StoreError
from storage.json_head import Count, HeadFormat
from storage.stored_names import require_below
from storage.tables.label_store import LabelStore
from storage.tables.parquet import UNREADABLE, read_parquet, reason, with_schema
from storage.tables.row_index import RowIndex, rows_by_value

DATASET_FILE = "dataset.json"
IMAGES_FILE = "images.parquet"
HASH_ROWS = 65_536
REWRITE = "delete the folder and write the set again"
"""What to do about a data set that is damaged: `mixpl shard` does not write over one."""
PARTS_FOLDER = ".parts"
"""Progress of an unfinished `mixpl shard`; gone when it is done."""

IMAGE_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("image_id", pa.int64()),
        pa.field("file_name", pa.string()),
        pa.field("shard", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("sha256", pa.string()),
        pa.field("split", pa.string()),
    ]
)
"""`offset` and `size` are the byte range of the encoded image in the tar; width and height are as decoded,
after EXIF rotation; `split` is the part of the split, or null where the set is no part of one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitNote:
    """What of `split` is asked for elsewhere; it is kept whole."""

    part: str | None = None
    family: str | None = None
    percent: float | None = None
    fold: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] | None = None
    hash: str | None = None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A complete sharded data set. `Dataset.open(root)` reads one."""

    root: str
    name: str
    classes: tuple[str, ...]
    """Class names; a category is an index into them."""
    category_ids: tuple[int, ...]
    """The original ids of the classes, in the same order."""
    num_images: Count
    num_boxes: Count | None
    """Boxes in the ground truth, crowds not counted; None for an unlabeled set."""
    labeled: bool
    has_hidden_truth: bool
    source: Mapping[str, Any]
    """What it was written from: annotation file and its sha256, image folder, images per shard."""
    split: Mapping[str, Any] | None
    """Family, percent, fold, seed, hash and part of the split it belongs to; None where there is none."""
    shards: tuple[str, ...]
    """File names of the tar files, in order."""
    hash: str
    """sha256 over key and bytes of all images: two sets of the same images have the same hash."""

    def __post_init__(self) -> None:
        """Check what no type can say, for the reader of `dataset.json`."""
        require_below(self.shards, "shards")
        if len(self.classes) != len(self.category_ids):
            raise ValueError(
                f"expected an id for each class, got {len(self.category_ids)} of {len(self.classes)}"
            )
        if self.labeled and self.num_boxes is None:
            raise ValueError("expected num_boxes of a labeled set, got null")
        if self.split is not None:
            msgspec.convert(self.split, SplitNote)

    @staticmethod
    def open(root: str) -> Dataset:
        """Open a data set. Raises StoreError saying what is missing when the folder holds no complete one."""
        dataset = _HEAD.read(files.join(root, DATASET_FILE), root=root)
        if dataset is None:
            raise StoreError(_why_not_open(root))
        return dataset

    def images(self) -> pa.Table:
        """Return the image table (IMAGE_SCHEMA), one row an image, in shard order; read once."""
        return self._images

    def shard_path(self, shard: str) -> str:
        """Return where a shard lies, given its file name."""
        return files.join(self.root, shard)

    def ground_truth(self) -> LabelStore:
        """Return the truth of a labeled set, rows in the order of the image table."""
        if not self.labeled:
            raise StoreError(
                f"expected a labeled data set, got {self.name!r} without ground truth: {self.root}; "
                "write the labeled part with `mixpl shard LABELED.json`"
            )
        return self._store("ground_truth")

    def hidden_truth(self) -> LabelStore | None:
        """Return the kept-apart truth of an unlabeled set, if known. For analysis; training must not ask."""
        return self._store("hidden_truth") if self.has_hidden_truth else None

    def keys_of(self, shard: str) -> list[str]:
        """Return the keys of the images of a shard, given its file name, in their order."""
        rows = self._rows_by_shard.get(shard, np.zeros(0, np.int64))
        return [str(key) for key in self.images()["key"].take(pa.array(rows)).to_pylist()]

    def rows_of(self, keys: Sequence[str] | pa.ChunkedArray) -> npt.NDArray[np.int64]:
        """Return the row of the image table of each image, by key; -1 where the set has no such image."""
        return self._row_index.rows(keys)

    def require_same_classes(self, classes: tuple[str, ...], *, lender: str) -> None:
        """Raise StoreError unless these are the classes of the set, in its order; one without classes fits all.

        `lender` is the data set that has them: `mixpl shard` takes the classes from there.
        """
        if self.classes and self.classes != classes:
            raise StoreError(
                f"expected the {len(classes):,} classes of {lender}, got {difference(classes, self.classes)}: "
                f"{self.root}; write it again with `mixpl shard --classes-from {lender}`, which maps them by name"
            )

    def write(self) -> None:
        """Write `dataset.json`: the last act of making a data set."""
        head = asdict(self)
        del head["root"]
        _HEAD.write(files.join(self.root, DATASET_FILE), head)

    @cached_property
    def _row_index(self) -> RowIndex:
        return RowIndex(self.images()["key"])

    @cached_property
    def _rows_by_shard(self) -> dict[str, npt.NDArray[np.int64]]:
        return rows_by_value(self.images()["shard"])

    @cached_property
    def _images(self) -> pa.Table:
        location = files.join(self.root, IMAGES_FILE)
        try:
            table = read_parquet(location)
        except UNREADABLE as error:
            raise StoreError(
                f"expected the image table, got {reason(error)}: {location}; {REWRITE}"
            ) from error
        table = with_schema(table, IMAGE_SCHEMA, where=location, remedy=REWRITE, nullable=("split",))
        self._require_own_shards(table, location)
        if len(table) != self.num_images:
            raise StoreError(
                f"expected {self.num_images} rows as {DATASET_FILE} says, got {len(table)}: {location}; "
                f"the folder mixes two sets, {REWRITE}"
            )
        return table

    def _require_own_shards(self, table: pa.Table, location: str) -> None:
        """Raise StoreError where the image table names bytes that are none of this set."""
        foreign = {*pc.unique(table["shard"]).to_pylist()} - {*self.shards}
        if foreign:
            raise StoreError(
                f"expected the shards that {DATASET_FILE} lists, got {min(foreign)!r} in column shard: {location}; "
                f"the folder mixes two sets, {REWRITE}"
            )
        for column in ("offset", "size", "width", "height"):
            least = pc.min(table[column]).as_py()
            if least is not None and least < 0:
                raise StoreError(
                    f"expected numbers of 0 or more in column {column}, got {least}: {location}; {REWRITE}"
                )

    def _store(self, folder: str) -> LabelStore:
        return LabelStore(
            files.join(self.root, folder),
            num_classes=len(self.classes),
            known_stems=[shard_stem(shard) for shard in self.shards],
        )


_HEAD = HeadFormat(kind=Dataset, what="a data set", remedy=REWRITE)


def shard_stem(shard: str) -> str:
    """Return the name of a shard without `.tar`: its label tables are called so."""
    return shard.removesuffix(".tar")


def images_hash(images: pa.Table) -> str:
    """Return the sha256 over key and content of all images, whatever their order and sharding.

    It is that of the sorted lines "key sha256"; a set of millions never stands in Python's memory at once.
    """
    columns = (images[name].cast(pa.large_string()) for name in ("key", "sha256"))
    lines = pc.binary_join_element_wise(*columns, pa.scalar(" ", pa.large_string()))
    digest = hashlib.sha256()
    order = pc.sort_indices(lines)
    for start in range(0, len(lines), HASH_ROWS):
        text = "\n".join(lines.take(order[start : start + HASH_ROWS]).to_pylist())
        digest.update(("\n" if start else "").encode() + text.encode())
    return digest.hexdigest()


def _why_not_open(root: str) -> str:
    expected = f"expected a data set folder with {DATASET_FILE}"
    if files.exists(files.join(root, PARTS_FOLDER)):
        return f"{expected}, got an unfinished one: {root}; run the same `mixpl shard` again, it continues"
    if root.endswith(f"/{DATASET_FILE}"):
        return f"{expected}, got that file: {root}; name the folder, {root.removesuffix(f'/{DATASET_FILE}')}"
    if root.endswith(".json"):
        return f"{expected}, got a file: {root}; make a data set of it with `mixpl shard`"
    if not files.exists(root):
        return f"{expected}, got nothing there: {root}; check the path, or make one with `mixpl shard`"
    below = [files.join(root, name) for name in files.list_folders(root)]
    if sets := [path for path in below if files.exists(files.join(path, DATASET_FILE))]:
        return f"{expected}, got a folder above some: {root}; name {' or '.join(sets[:3])}"
    return f"{expected}, got a folder without it: {root}; make one with `mixpl shard`"
