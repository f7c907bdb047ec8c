"""Label tables at rest: one Parquet file a shard, one row an image.

In: label tables or truth tables, plus where the labels came from. Out: Parquet files, and the tables again.
Guarantees: a file under its name is complete and was checked; the same labels give the same bytes; any number of
processes may write different files without a lock. An image labeled as empty is a row with empty lists, an image
not labeled yet has no row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from storage import files
from storage.errors import StoreError
from storage.json_head import HeadFormat
from storage.tables.label_table import check_columns, check_labels
from storage.tables.parquet import UNREADABLE, parse_parquet, read_columns, reason, with_schema, write_parquet
from storage.tables.schemas import LABEL_SCHEMA, NULLABLE, STORED_SCHEMA, schema_of


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelHead:
    """What a label table says of itself."""

    provenance: dict[str, Any]
    """Where the labels came from."""
    stem: str | None = None
    """The name under which it was written; None in tables of earlier versions."""


ASK_VERIFY = "`mixpl verify` of its data set or round says how to write it again"
"""What to do about a table that is missing or damaged."""
_HEAD = HeadFormat(kind=LabelHead, what="a label table", remedy=ASK_VERIFY)


class LabelStore:
    """The label tables of one folder: `ROOT/STEM.parquet`, a stem being a shard's name or a step."""

    def __init__(
        self,
        root: str,
        *,
        num_classes: int | None = None,
        known_stems: Sequence[str] | None = None,
        others: Collection[str] = (),
        sha256: Mapping[str, str] | None = None,
    ) -> None:
        """Look at a folder; nothing is read yet.

        `num_classes` bounds the categories that may be written; `known_stems` spares a listing (not every
        remote place can list); `others` are stems of the folder that are no label tables; `sha256` of a table's
        bytes, by stem, is what a table that is read must have.
        """
        self.root = root
        self.num_classes = num_classes
        self._known_stems = known_stems
        self._others = frozenset(others)
        self._sha256 = sha256 or {}

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
        locations = files.list_files(self.root, ".parquet")
        stems = (location.rsplit("/", 1)[-1].removesuffix(".parquet") for location in locations)
        return [stem for stem in stems if stem not in self._others]

    def write(self, stem: str, table: pa.Table, provenance: Mapping[str, object]) -> str:
        """Check a table and write it atomically; return the sha256 of its bytes.

        `provenance` says where the labels came from (round, run, weights hash, split hash, teacher step
        ...) and must be JSON. Raises StoreError naming file, key and column when a box is not finite or
        inverted, a score lies outside 0..1, a category outside the classes, or a key stands twice.
        """
        location = self.path(stem)
        schema = schema_of(table)
        check_columns(table, schema, location)
        check_labels(table, num_classes=self.num_classes, where=location)
        metadata = {"mixpl": _HEAD.encode({"provenance": dict(provenance), "stem": stem}, indent=None)}
        checked = table.select(schema.names).cast(schema).replace_schema_metadata(metadata)
        return write_parquet(location, checked, compression="zstd")

    def read(self, stem: str, *, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the table of one stem. Raises StoreError naming the file when it is missing or damaged."""
        try:
            table = read_columns(self._open(stem), columns)
        except UNREADABLE as error:
            raise self._damaged(stem, error) from error
        schema = schema_of(table) if columns is None else pa.schema(map(STORED_SCHEMA.field, columns))
        return with_schema(table, schema, where=self.path(stem), remedy=ASK_VERIFY, nullable=NULLABLE)

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

    def checksum(self, stem: str) -> str:
        """Return the sha256 of a table's bytes."""
        return hashlib.sha256(files.read_bytes(self.path(stem))).hexdigest()

    def _open(self, stem: str) -> Any:
        location = self.path(stem)
        try:
            data = files.read_bytes(location)
            self._require_written(stem, data)
            # the checksums of pages are for tables of which no sha256 is known
            table_file = parse_parquet(data, check_pages=stem not in self._sha256)
        except FileNotFoundError:
            raise StoreError(f"expected a label table, got no file: {location}; {ASK_VERIFY}") from None
        except UNREADABLE as error:
            raise self._damaged(stem, error) from error
        head = self._head(table_file, stem)
        if head.stem not in (None, stem):
            raise StoreError(
                f"expected the table {stem}, got the table {head.stem} under its name: {location}; {ASK_VERIFY}"
            )
        return table_file

    def _require_written(self, stem: str, data: bytes) -> None:
        """Raise StoreError unless a table's bytes are those that are known of it."""
        expected = self._sha256.get(stem)
        if expected is not None and (got := hashlib.sha256(data).hexdigest()) != expected:
            raise StoreError(
                f"expected the bytes with which the round was finished (sha256 {expected[:12]}), got others "
                f"({got[:12]}): {self.path(stem)}; {ASK_VERIFY}"
            )

    def _damaged(self, stem: str, error: Exception) -> StoreError:
        return StoreError(
            f"expected a Parquet label table, got {reason(error)}: {self.path(stem)}; {ASK_VERIFY}"
        )

    def _head(self, table_file: Any, stem: str) -> LabelHead:
        metadata = table_file.schema_arrow.metadata or {}
        return _HEAD.parse(metadata.get(b"mixpl", b"{}"), where=self.path(stem))
