"""Compaction: the many label tables of a finished round rewritten as few, and never a moment without labels.

In: a complete round with one table a shard. Out: the same rows in the same order in a folder of their own,
`ROUND/tables-1f9c04ab/`, named by `ROUND/tables.json`. Guaranteed: `tables.json` appears in one rename and only
after every new table is on disk and counted, so that whoever opens the round, at any moment and after any
crash, sees either all old tables or all new ones; the old ones are removed last, and a second run finishes
whatever a killed one left.

A reader that listed the old tables before may find one gone while it works: it is told so and asks again.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from storage import files
from storage.errors import StoreError
from storage.rounds.round import COMPACTED, COMPACTED_FILE, CompactedTables, Round, RoundInfo, open_round
from storage.rounds.round_thresholds import THRESHOLDS
from storage.tables.label_store import LabelStore

FOLDER_PREFIX = "tables-"
TABLE_BYTES = 64_000_000
"""Size of the old tables that become one new table: some 200,000 images of 15 boxes."""


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
    """Rewrite the tables of a round as few; one that is compacted already only loses its leftovers.

    Raises StoreError when the round is not complete, when its tables do not hold what `round.json` says, or
    when an image stands in two of them; nothing is changed then.
    """
    if round_.info is None:
        raise StoreError(
            f"expected a complete round, got an incomplete one: {round_.path}; run `mixpl label` to its end first"
        )
    single = LabelStore(round_.path, others=(THRESHOLDS,))
    before = single.stems()
    if open_round(round_.path).compacted is None:
        folder = f"{FOLDER_PREFIX}{uuid.uuid4().hex[:8]}"
        compacted = CompactedTables(tables=_write(round_.info, single, folder, table_bytes))
        COMPACTED.write(files.join(round_.path, COMPACTED_FILE), compacted)
    round_ = open_round(round_.path)
    assert round_.compacted is not None
    _remove_leftovers(round_, single, before)
    return Compaction(
        round=round_, tables_before=len(before), tables_after=len(round_.compacted), removed=len(before)
    )


def _write(info: RoundInfo, single: LabelStore, folder: str, table_bytes: int) -> dict[str, tuple[str, ...]]:
    """Write the new tables; return their stems, each with the stems that went into it."""
    store = LabelStore(single.root, num_classes=len(info.classes))
    written: dict[str, tuple[str, ...]] = {}
    for number, stems in enumerate(_groups(single, table_bytes)):
        stem = f"{folder}/part-{number:06d}"
        tables = [single.read(old).replace_schema_metadata(None) for old in stems]
        store.write(stem, pa.concat_tables(tables), _shared_provenance(single, stems))
        written[stem] = tuple(stems)
    _require_whole(info, store, list(written))
    return written


def _remove_leftovers(round_: Round, single: LabelStore, before: Sequence[str]) -> None:
    """Remove the old tables, and folders of compactions that were killed before their tables.json."""
    for stem in before:
        files.remove_file(single.path(stem))
    assert round_.compacted is not None
    current = {stem.split("/")[0] for stem in round_.compacted}
    for name in files.list_folders(round_.path):
        if name.startswith(FOLDER_PREFIX) and name not in current:
            files.remove_folder(files.join(round_.path, name))


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


def _require_whole(info: RoundInfo, store: LabelStore, stems: Sequence[str]) -> None:
    """Raise StoreError unless the new tables hold every image once and every box that the round counted."""
    keys, num_boxes = [], 0
    for stem in stems:
        table = store.read(stem, columns=["key", "scores"])
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
