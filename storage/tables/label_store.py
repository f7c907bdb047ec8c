"""Label tables at rest: one Parquet file a shard, one row an image.

In: keys, sizes and `Labels` of images, plus where the labels came from. Out: Arrow tables and Parquet
files. Guarantees: a file under its name is complete and was checked; the same labels give the same bytes;
any number of processes may write different files without a lock. An image labeled as empty is a row with
empty lists, an image not labeled yet has no row.

Truth tables (ground truth and kept-apart truth) have three more columns. Crowd regions lie in columns of
their own, so that no reader of `boxes` can train on one by mistake.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from storage import files
from storage.errors import StoreError
from storage.json_head import HeadFormat
from storage.labels import Labels
from storage.tables.list_columns import box_lists, column_labels, flat, label_columns, lists, offsets_of
from storage.tables.parquet import UNREADABLE, reason, write_parquet

_BOX = pa.list_(pa.field("element", pa.float32()), 4)
_BOXES = pa.list_(pa.field("element", _BOX))
_CATEGORIES = pa.list_(pa.field("element", pa.int32()))

LABEL_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("image_id", pa.int64()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("boxes", _BOXES),
        pa.field("categories", _CATEGORIES),
        pa.field("scores", pa.list_(pa.field("element", pa.float32()))),
        pa.field("step", pa.int64()),
    ]
)
"""Columns of every label table. Boxes are xyxy in pixels of the original image; `step` is the teacher's
training step, null for truth."""

TRUTH_SCHEMA = pa.schema(
    [
        *LABEL_SCHEMA,
        pa.field("areas", pa.list_(pa.field("element", pa.float64()))),
        pa.field("crowd_boxes", _BOXES),
        pa.field("crowd_categories", _CATEGORIES),
    ]
)
"""Label columns, then: the annotated area of each box (COCO's size bins use it), and the crowd regions that
an evaluation ignores and training never sees."""

OPTIONAL_TRUTH_SCHEMA = pa.schema(
    [
        pa.field("difficult_boxes", _BOXES),
        pa.field("difficult_categories", _CATEGORIES),
        pa.field("absent_categories", _CATEGORIES),
        pa.field("not_exhaustive_categories", _CATEGORIES),
    ]
)
"""More columns of truth, where the source knows such things: see `storage.tables.truth_table`."""


def label_table(
    keys: Sequence[str],
    image_ids: Sequence[int] | npt.NDArray[np.int64],
    sizes_B2: npt.ArrayLike,
    labels: Labels,
    *,
    step: int | None = None,
) -> pa.Table:
    """Return a label table of B images; `sizes_B2` holds (height, width) of the original images."""
    sizes = np.asarray(sizes_B2, dtype=np.int32).reshape(-1, 2)
    assert len(keys) == len(image_ids) == len(sizes) == len(labels), "one row an image"
    columns = {
        "key": pa.array(keys, pa.string()),
        "image_id": pa.array(image_ids, pa.int64()),
        "width": pa.array(sizes[:, 1]),
        "height": pa.array(sizes[:, 0]),
        "boxes": box_lists(labels),
        "categories": lists(labels.offsets_B1, pa.array(labels.categories_N, pa.int32())),
        "scores": lists(labels.offsets_B1, pa.array(labels.scores_N, pa.float32())),
        "step": pa.array([step] * len(keys), pa.int64()),
    }
    return pa.table(columns).cast(LABEL_SCHEMA)


def truth_table(table: pa.Table, *, areas_N: npt.NDArray[np.float64], crowds: Labels) -> pa.Table:
    """Return a label table with the truth columns added: annotated areas, crowd regions of each image."""
    counts = table_labels(table).counts()
    offsets = np.concatenate([[0], np.cumsum(counts)])
    assert offsets[-1] == len(areas_N), "one area a box"
    assert len(crowds) == len(table), "crowds for every image"
    extended = table.append_column("areas", lists(offsets, pa.array(areas_N, pa.float64())))
    for name, column in zip(("crowd_boxes", "crowd_categories"), label_columns(crowds), strict=True):
        extended = extended.append_column(name, column)
    return extended.cast(_schema_of(extended))


def table_labels(table: pa.Table) -> Labels:
    """Return the boxes of a label table, one image a row, without crowd regions."""
    return Labels(
        boxes_N4=flat(table, "boxes", np.float32).reshape(-1, 4),
        categories_N=flat(table, "categories", np.int32),
        scores_N=flat(table, "scores", np.float32),
        offsets_B1=offsets_of(table, "boxes"),
    )


def table_crowds(table: pa.Table) -> Labels:
    """Return the crowd regions of a truth table, one image a row; none where the table knows no crowds."""
    if "crowd_boxes" not in table.column_names:
        return Labels.empty(len(table))
    return column_labels(table, "crowd_boxes", "crowd_categories")


def table_areas(table: pa.Table) -> npt.NDArray[np.float64]:
    """Return the annotated area of each box of `table_labels(table)`; width x height where unknown."""
    if "areas" in table.column_names:
        return flat(table, "areas", np.float64)
    boxes_N4 = table_labels(table).boxes_N4.astype(np.float64)
    return np.asarray((boxes_N4[:, 2] - boxes_N4[:, 0]) * (boxes_N4[:, 3] - boxes_N4[:, 1]))


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelHead:
    """What a label table says of itself."""

    provenance: dict[str, Any]
    """Where the labels came from."""


_HEAD = HeadFormat(kind=LabelHead, what="a label table", remedy="write the table again")


class LabelStore:
    """The label tables of one folder: `ROOT/STEM.parquet`, a stem being a shard's name or a step."""

    def __init__(
        self,
        root: str,
        *,
        num_classes: int | None = None,
        known_stems: Sequence[str] | None = None,
        others: Collection[str] = (),
    ) -> None:
        """Look at a folder; nothing is read yet.

        `num_classes` bounds the categories that may be written; `known_stems` spares a listing (not every
        remote place can list); `others` are stems of the folder that are no label tables.
        """
        self.root = root
        self.num_classes = num_classes
        self._known_stems = known_stems
        self._others = frozenset(others)

    def path(self, stem: str) -> str:
        """Return where the table of this stem lies or would lie."""
        return files.join(self.root, f"{stem}.parquet")

    def has(self, stem: str) -> bool:
        """Return whether this table is written completely."""
        return files.exists(self.path(stem))

    def stems(self) -> list[str]:
        """Return the stems of all complete tables, sorted."""
        if self._known_stems is not None:
            return sorted(self._known_stems)
        found = files.list_files(self.root, ".parquet")
        stems = (location.rsplit("/", 1)[-1].removesuffix(".parquet") for location in found)
        return [stem for stem in stems if stem not in self._others]

    def write(self, stem: str, table: pa.Table, provenance: Mapping[str, object]) -> None:
        """Check a table and write it atomically.

        `provenance` says where the labels came from (round, run, weights hash, split hash, teacher step
        ...) and must be JSON. Raises StoreError naming file, key and column when a box is not finite or
        inverted, a score lies outside 0..1, a category outside the classes, or a key stands twice.
        """
        location = self.path(stem)
        schema = _schema_of(table)
        _check_columns(table, schema, location)
        check_labels(table, num_classes=self.num_classes, where=location)
        metadata = {"mixpl": _HEAD.encode({"provenance": dict(provenance)}, indent=None)}
        checked = table.select(schema.names).cast(schema).replace_schema_metadata(metadata)
        write_parquet(location, checked, compression="zstd")

    def read(self, stem: str, *, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the table of one stem. Raises StoreError naming the file when it is missing or damaged."""
        try:
            return self._open(stem).read(columns=list(columns) if columns else None)
        except UNREADABLE as error:
            raise self._damaged(stem, error) from error

    def read_all(self, *, columns: Sequence[str] | None = None) -> pa.Table:
        """Return all tables as one, in the order of their stems; an empty label table if there are none."""
        tables = [self.read(stem, columns=columns).replace_schema_metadata(None) for stem in self.stems()]
        if not tables:
            empty = LABEL_SCHEMA.empty_table()
            return empty.select(list(columns)) if columns else empty
        return pa.concat_tables(tables)

    def provenance(self, stem: str) -> dict[str, Any]:
        """Return where the labels of one file came from."""
        return self._head(self._open(stem), stem).provenance

    def _open(self, stem: str) -> Any:
        location = self.path(stem)
        try:
            table_file = pq.ParquetFile(pa.BufferReader(files.read_bytes(location)))
        except FileNotFoundError:
            raise StoreError(
                f"expected a label table, got no file: {location}; write it, or name another folder"
            ) from None
        except UNREADABLE as error:
            raise self._damaged(stem, error) from error
        self._head(table_file, stem)
        return table_file

    def _damaged(self, stem: str, error: Exception) -> StoreError:
        return StoreError(
            f"expected a Parquet label table, got {reason(error)}: {self.path(stem)}; delete the file and write it "
            "again"
        )

    def _head(self, table_file: Any, stem: str) -> LabelHead:
        metadata = table_file.schema_arrow.metadata or {}
        return _HEAD.parse(metadata.get(b"mixpl", b"{}"), where=self.path(stem))


def check_labels(table: pa.Table, *, num_classes: int | None, where: str) -> None:
    """Raise StoreError, naming the first bad row, unless every box, score and category is sound."""
    keys = table["key"].to_pylist()
    if len(set(keys)) != len(keys):
        twice = next(key for index, key in enumerate(keys) if key in keys[:index])
        raise StoreError(f"expected one row an image, got key {twice!r} twice: {where}; drop the second row")
    for column in ("categories", "scores", "areas"):
        if column in table.column_names and not np.array_equal(
            offsets_of(table, column), offsets_of(table, "boxes")
        ):
            raise StoreError(
                f"expected as many {column} as boxes in each row, got other list lengths: {where}"
            )
    labels = table_labels(table)
    boxes_N4, scores_N, categories_N = labels.boxes_N4, labels.scores_N, labels.categories_N
    highest = np.iinfo(np.int32).max if num_classes is None else num_classes - 1
    rules = (
        ("finite boxes", np.isfinite(boxes_N4).all(axis=1), boxes_N4),
        ("boxes with x1 <= x2 and y1 <= y2", (boxes_N4[:, :2] <= boxes_N4[:, 2:]).all(axis=1), boxes_N4),
        ("scores within 0..1", (scores_N >= 0) & (scores_N <= 1), scores_N),
        (f"categories within 0..{highest}", (categories_N >= 0) & (categories_N <= highest), categories_N),
    )
    for expected, good_N, values in rules:
        if not good_N.all():
            index = int(np.argmin(good_N))
            row = int(np.searchsorted(labels.offsets_B1, index, side="right")) - 1
            raise StoreError(
                f"expected {expected}, got {values[index].tolist()} in row {row}, key {keys[row]!r}: "
                f"{where}; correct what produced it"
            )


def _schema_of(table: pa.Table) -> pa.Schema:
    if "areas" not in table.column_names:
        return LABEL_SCHEMA
    return pa.schema(
        [*TRUTH_SCHEMA, *(one for one in OPTIONAL_TRUTH_SCHEMA if one.name in table.column_names)]
    )


def _check_columns(table: pa.Table, schema: pa.Schema, where: str) -> None:
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise StoreError(
            f"expected the columns {', '.join(schema.names)}, got a table without "
            f"{', '.join(missing)}: {where}; build it with label_table"
        )
    for name in schema.names:
        if name != "step" and table[name].null_count:
            raise StoreError(f"expected no nulls, got {table[name].null_count} in column {name!r}: {where}")
