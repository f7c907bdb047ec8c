"""Rounds of labels at rest: whether each complete one still has every table that it was finished with.

In: a folder of rounds, or one round. Out: `Checked`. `round.json` says how many images and boxes the tables hold;
the data set, where it still lies where it was labeled, says which tables there must be. A round that is not
complete is work in progress and nothing is wrong with it, unless it was compacted, which only complete ones are.
`quick` reads the tables' footers only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from storage import files
from storage.dataset.dataset import Dataset
from storage.rounds.round import COMPACTED_FILE, ROUND_FILE, Round, RoundInfo, is_round, open_round
from storage.tables.label_store import LabelStore, check_labels
from storage.tables.parquet import UNREADABLE
from storage.verify.check_dataset import CheckResult
from storage.verify.findings import Finding


def holds_rounds(root: str) -> bool:
    """Return whether a folder is a round or has rounds right below it."""
    return is_round(root) or any(map(is_round, files.list_folders(root)))


def check_rounds(root: str, *, quick: bool = False, on_table: Callable[[], bool]) -> CheckResult:
    """Check every complete round; `on_table` is told of each table and returns whether to go on."""
    checked = CheckResult(root=root, name=root.rstrip("/").rsplit("/", 1)[-1], what="label tables")
    below = [files.join(root, name) for name in files.list_folders(root) if is_round(name)]
    for path in [root] if is_round(root) else below:
        place = path.rstrip("/").rsplit("/", 1)[-1]
        try:
            round_ = open_round(path)
            round_.thresholds()
        except ValueError as error:
            checked.findings.add(
                [_finding("unreadable round", place, "a round that can be opened", str(error))]
            )
            continue
        if round_.info is None and round_.compacted is not None:
            expected = f"{ROUND_FILE}, as {COMPACTED_FILE} belongs to a finished round"
            checked.findings.add([_finding("unreadable round", place, expected, "none")])
        if round_.info is not None:
            _check_round(round_, round_.info, place, checked, quick=quick, on_table=on_table)
        if checked.stopped:
            break
    return checked


def lost_tables(round_: Round, shards: Sequence[str]) -> list[str]:
    """Return the files that a complete round of a data set of these shards must have and has not."""
    stems = tuple(shard.removesuffix(".tar") for shard in shards)
    if round_.compacted is not None:
        stems = tuple(round_.compacted)
    there = set(files.walk_files(round_.path))
    return [name for name in (f"{stem}.parquet" for stem in stems) if name not in there]


def _check_round(
    round_: Round,
    info: RoundInfo,
    place: str,
    checked: CheckResult,
    *,
    quick: bool,
    on_table: Callable[[], bool],
) -> None:
    lost = lost_tables(round_, _shards(info))
    checked.findings.add(
        _finding("missing label table", f"{place}/{name}", "the table of a finished round", "no such file")
        for name in lost
    )
    store = round_.labels()
    num_images = num_boxes = 0
    whole = not lost
    for stem in store.stems():
        if f"{stem}.parquet" in lost:
            continue
        images, boxes, findings = _check_table(store, stem, f"{place}/{stem}.parquet", info, quick=quick)
        num_images, num_boxes, whole = num_images + images, num_boxes + boxes, whole and not findings
        checked.num_files += 1
        checked.findings.add(findings)
        if not on_table():
            checked.stopped = True
            return
    checked.num_images += num_images
    checked.num_boxes += num_boxes
    if whole:
        checked.findings.add(_totals(info, place, num_images, num_boxes, quick=quick))


def _shards(info: RoundInfo) -> tuple[str, ...]:
    """Return the shards that were labeled; none where the data set is not there any more."""
    try:
        dataset = Dataset.open(info.dataset_root)
    except (ValueError, OSError):
        return ()
    return dataset.shards if dataset.hash == info.dataset_hash else ()


def _check_table(
    store: LabelStore, stem: str, place: str, info: RoundInfo, *, quick: bool
) -> tuple[int, int, list[Finding]]:
    """Return images, boxes (0 in quick mode) and what is wrong."""
    try:
        if quick:
            footer = pq.read_metadata(pa.BufferReader(files.read_bytes(store.path(stem))))
            return int(footer.num_rows), 0, []
        table = store.read(stem)
    except (ValueError, *UNREADABLE) as error:
        return 0, 0, [_finding("unreadable label table", place, "a label table", str(error))]
    try:
        check_labels(table, num_classes=len(info.classes), where=place)
    except ValueError as error:
        return 0, 0, [_finding("unsound labels", place, "sound labels", str(error))]
    return len(table), len(table["boxes"].combine_chunks().flatten()), []


def _totals(info: RoundInfo, place: str, num_images: int, num_boxes: int, *, quick: bool) -> list[Finding]:
    if num_images == info.num_images and (quick or num_boxes == info.num_boxes):
        return []
    expected = f"{info.num_images:,} images with {info.num_boxes:,} boxes"
    got = f"{num_images:,} images" + ("" if quick else f" with {num_boxes:,} boxes")
    return [_finding("count that round.json does not say", f"{place}/{ROUND_FILE}", expected, got)]


def _finding(kind: str, place: str, expected: str, got: str) -> Finding:
    return Finding(kind=kind, place=place, expected=expected, got=got)
