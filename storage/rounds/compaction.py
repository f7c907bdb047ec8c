"""Compaction: the many label tables of a finished round rewritten as few, and never a moment without labels.

In: a complete round with one table a shard. Out: the same rows in the same order in a folder of their own,
`ROUND/tables-1f9c04ab/`, named by `ROUND/tables.json`. Guaranteed: `tables.json` appears in one step, only where
there is none, and only after every new table was read back, so that whoever opens the round, at any moment and
after any crash, sees either all old tables or all new ones. Old tables are removed last, each right after the new
one was read, has its checksum and holds every row of it; a second run finishes whatever a killed one left.

One process compacts a round at a time: a local lock. Object stores have none, and the order of steps is safe
without it: each process writes a folder of its own, one `tables.json` wins (a conditional write), only what its
tables hold is removed, and nobody removes the folder of another. So the folder of a killed compaction stays there.

A reader that listed the old tables before may find one gone while it works: it is told so and asks again.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from storage import files
from storage.claims import locked, write_if_absent
from storage.errors import InputError, StoreError
from storage.rounds.round import COMPACTED, COMPACTED_FILE, CompactedTables, Round, RoundInfo, open_round
from storage.rounds.round_thresholds import THRESHOLDS
from storage.tables.label_store import LabelStore
from storage.tables.schemas import LABEL_SCHEMA

TABLE_BYTES = 64_000_000
"""Size of the old tables that become one new table: some 200,000 images of 15 boxes."""

_FOLDER = re.compile(r"tables-[0-9a-f]{8}")
_KEEP_OLD = (
    "no old table was removed for it; where all of them are there (one a shard), delete tables.json and run the "
    "same command again, else restore it from a copy"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Compaction:
    """What a compaction did."""

    round: Round
    """The round as it is now."""
    tables_before: int
    tables_after: int
    removed: int
    """Old tables removed; also those that an earlier, killed compaction had left."""


def compact(round_: Round, *, table_bytes: int = TABLE_BYTES) -> Compaction:
    """Rewrite the tables of a round as few; one that is compacted already only loses what was left of it.

    Raises StoreError when the round is not complete, when another process compacts it, when its tables do not hold
    what `round.json` says, an image stands in two of them, or a new table does not hold what it replaces; no table
    is removed then.
    """
    if round_.info is None:
        raise StoreError(
            f"expected a complete round, got an incomplete one: {round_.path}; run `mixpl label` to its end first"
        )
    with locked(files.join(round_.path, ".compact.lock"), command="mixpl rounds compact"):
        old = LabelStore(round_.path, others=(THRESHOLDS,), sha256=round_.info.sha256)
        before = old.stems()
        if open_round(round_.path).compacted is None:
            _publish(round_.info, old, table_bytes)
        now = open_round(round_.path)
        assert now.compacted is not None
        removed = _remove_replaced(now, round_.info, old)
        if files.is_local(now.path):
            _remove_strays(now)
    return Compaction(round=now, tables_before=len(before), tables_after=len(now.compacted), removed=removed)


def _publish(info: RoundInfo, old: LabelStore, table_bytes: int) -> None:
    """Write the new tables and then `tables.json`, unless another process is faster."""
    folder = f"tables-{uuid.uuid4().hex[:8]}"
    head = files.join(old.root, COMPACTED_FILE)
    try:
        content = COMPACTED.encode(_write(info, old, folder, table_bytes)) + b"\n"
        won = write_if_absent(head, content) and files.read_bytes(head) == content
    except (InputError, FileNotFoundError):
        files.remove_folder(files.join(old.root, folder))
        if open_round(old.root).compacted is None:
            raise
    else:
        if not won:
            files.remove_folder(files.join(old.root, folder))


def _write(info: RoundInfo, old: LabelStore, folder: str, table_bytes: int) -> CompactedTables:
    """Write the new tables and read them back."""
    store = LabelStore(old.root, num_classes=len(info.classes))
    sources: dict[str, tuple[str, ...]] = {}
    checksums: dict[str, str] = {}
    for number, stems in enumerate(_groups(old, table_bytes)):
        stem = f"{folder}/part-{number:06d}"
        rows = pa.concat_tables([_rows(old.read(source)) for source in stems])
        checksums[stem] = store.write(stem, rows, _shared_provenance(old, stems))
        sources[stem] = tuple(stems)
        if not _rows(store.read(stem)).equals(rows):
            raise StoreError(
                f"expected the rows that were written, got others: {store.path(stem)}; check the disk, then run "
                "the same command again"
            )
    tables = CompactedTables(tables=sources, sha256=checksums)
    _require_whole(info, store, tables)
    return tables


def _remove_replaced(round_: Round, info: RoundInfo, old: LabelStore) -> int:
    """Remove the old tables, each right after the new one was seen to hold its rows; return how many."""
    tables = COMPACTED.read(files.join(round_.path, COMPACTED_FILE))
    assert tables is not None
    there, new = set(old.stems()), round_.labels()
    left = {stem: there.intersection(sources) for stem, sources in tables.tables.items()}
    if not any(left.values()):
        return 0
    _require_whole(info, new, tables)
    for stem, sources in left.items():
        rows = _rows(_read_new(new, stem, tables)) if sources else None
        for source in sorted(sources):
            _require_held(rows, old, source)
            files.remove_file(old.path(source))
    return sum(map(len, left.values()))


def _require_held(rows: pa.Table, old: LabelStore, source: str) -> None:
    """Raise StoreError unless a new table holds every row of an old one."""
    try:
        replaced = _rows(old.read(source))
    except StoreError:
        if old.has(source):
            raise
        return  # another process was faster
    places = pc.index_in(replaced["key"], value_set=rows["key"])
    if places.null_count or not rows.take(places).equals(replaced):
        raise StoreError(
            f"expected a table whose rows the compacted ones hold, got other rows: {old.path(source)}; the table "
            "stays: move it away if the compacted ones are right"
        )


def _remove_strays(round_: Round) -> None:
    """Remove the tables of compactions that were killed before their `tables.json`; nobody else compacts now."""
    assert round_.compacted is not None
    current = {stem.split("/")[0] for stem in round_.compacted}
    files.remove_leftovers(round_.path)
    for name in files.list_folders(round_.path):
        if _FOLDER.fullmatch(name) and name not in current:
            folder = files.join(round_.path, name)
            files.remove_leftovers(folder)
            for location in files.list_files(folder, ".parquet"):
                if location.rsplit("/", 1)[-1].startswith("part-"):
                    files.remove_file(location)
            with contextlib.suppress(OSError):  # whatever else lies in it is not ours
                files.local_path(folder).rmdir()


def _groups(single: LabelStore, table_bytes: int) -> Iterator[list[str]]:
    group: list[str] = []
    total = 0
    for stem in single.stems():
        size = files.size(single.path(stem))
        if group and total + size > table_bytes:
            yield group
            group, total = [], 0
        group.append(stem)
        total += size
    if group:
        yield group


def _shared_provenance(single: LabelStore, stems: Sequence[str]) -> dict[str, Any]:
    first = single.provenance(stems[0])
    for stem in stems[1:]:
        if single.provenance(stem) != first:
            raise StoreError(
                f"expected tables of one origin, got other provenance than in {stems[0]}: {single.path(stem)}; "
                "delete the folder and run the same `mixpl label` again"
            )
    return first


def _read_new(store: LabelStore, stem: str, tables: CompactedTables) -> pa.Table:
    """Return a new table. Raises StoreError unless its bytes are those that were written."""
    try:
        table = store.read(stem)
        if tables.sha256.get(stem) not in (None, store.checksum(stem)):  # none in those of earlier versions
            raise StoreError(
                f"expected the bytes that {COMPACTED_FILE} has the sha256 of: {store.path(stem)}"
            )
    except StoreError as error:
        raise StoreError(f"{error}; {_KEEP_OLD}") from None
    return table


def _rows(table: pa.Table) -> pa.Table:
    return table.select(LABEL_SCHEMA.names).cast(LABEL_SCHEMA).replace_schema_metadata(None)


def _require_whole(info: RoundInfo, store: LabelStore, tables: CompactedTables) -> None:
    """Raise StoreError unless the new tables hold every image once and every box that the round counted."""
    keys, num_boxes = [], 0
    for stem in tables.tables:
        table = _read_new(store, stem, tables)
        keys += table["key"].chunks
        num_boxes += pc.sum(pc.list_value_length(table["scores"])).as_py() or 0
    expected = (info.num_images, info.num_boxes)
    num_keys = sum(map(len, keys))
    if (num_keys, num_boxes) != expected:
        raise StoreError(
            f"expected {expected[0]:,} images and {expected[1]:,} boxes as round.json says, got {num_keys:,} and "
            f"{num_boxes:,}: {store.root}; delete the folder and run the same `mixpl label` again"
        )
    counted = pa.chunked_array(keys, pa.string()).value_counts()
    twice = counted.filter(pc.greater(counted.field("counts"), 1))
    if len(twice):
        raise StoreError(
            f"expected each image once, got {len(twice):,} keys in two tables, the first is "
            f"{twice[0]['values'].as_py()!r}: {store.root}; delete the folder and run the same `mixpl label` again"
        )
