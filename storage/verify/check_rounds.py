"""Rounds of labels at rest: whether each complete one still has every table that it was finished with.

In: a folder of rounds, or one round. Out: `CheckResult`. `round.json` says which bytes each table has and how many
images and boxes they hold; the data set, where it still lies where it was labeled, says which tables there must be
and whose rows are in each. A round that is not complete is work in progress and nothing is wrong with it, unless it
was compacted, which only complete ones are. `quick` reads the tables' footers only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from storage import files
from storage.dataset.dataset import Dataset, shard_stem
from storage.errors import StoreError
from storage.rounds.round import COMPACTED_FILE, ROUND_FILE, Round, RoundInfo, is_round, open_round
from storage.rounds.whole import dataset_of
from storage.rounds.without_row import all_without_row
from storage.tables.label_store import LabelStore
from storage.tables.label_table import check_labels
from storage.tables.parquet import UNREADABLE, open_parquet, reason
from storage.verify.check_dataset import CheckResult
from storage.verify.findings import Finding


def holds_rounds(root: str) -> bool:
    """Return whether a folder is a round or has rounds right below it."""
    return is_round(root) or any(map(is_round, files.list_folders(root)))


def check_rounds(root: str, *, quick: bool = False, on_table: Callable[[], bool]) -> CheckResult:
    """Check every complete round; `on_table` is told of each table and returns whether to go on."""
    result = CheckResult(root=root, name=_last_part(root), what="label tables")
    below = [files.join(root, name) for name in files.list_folders(root) if is_round(name)]
    for path in [root] if is_round(root) else below:
        _check_round(path, result, quick=quick, on_table=on_table)
        if result.stopped:
            break
    return result


def _check_round(path: str, result: CheckResult, *, quick: bool, on_table: Callable[[], bool]) -> None:
    folder = _last_part(path)
    try:
        round_ = open_round(path)
        round_.thresholds()
    except StoreError as error:
        result.findings.add(Finding("unreadable round", folder, "a round that can be opened", str(error)))
        return
    if round_.info is not None:
        _check_tables(round_, round_.info, result, quick=quick, on_table=on_table)
    elif round_.compacted is not None:
        expected = f"{ROUND_FILE}, as {COMPACTED_FILE} belongs to a finished round"
        result.findings.add(Finding("unreadable round", folder, expected, "none"))


def _check_tables(
    round_: Round, info: RoundInfo, result: CheckResult, *, quick: bool, on_table: Callable[[], bool]
) -> None:
    folder, store = _last_part(round_.path), round_.labels()
    dataset = _readable_set(info)
    shards = () if dataset is None else dataset.shards
    lost = round_.lost_tables(shards)
    for name in lost:
        expected = "the table of a finished round"
        result.findings.add(Finding("missing label table", f"{folder}/{name}", expected, "no such file"))
    num_images, num_boxes, whole = 0, 0, not lost
    for stem in (stem for stem in store.stems() if f"{stem}.parquet" not in lost):
        expected_keys = None if quick or dataset is None else _keys(round_, dataset, stem)
        images, boxes, finding = _check_table(
            store, stem, folder, len(info.classes), expected_keys, quick=quick
        )
        num_images, num_boxes, whole = num_images + images, num_boxes + boxes, whole and finding is None
        result.num_files += 1
        result.findings.add(*([] if finding is None else [finding]))
        if not on_table():
            result.stopped = True
            return
    result.num_images += num_images
    result.num_boxes += num_boxes
    result.set_apart += _without_row(round_, info, dataset, folder)
    if whole:
        result.findings.add(*_totals(info, folder, num_images, None if quick else num_boxes))


def _readable_set(info: RoundInfo) -> Dataset | None:
    """Return the data set that was labeled, where it and its image table can be read."""
    dataset = dataset_of(info)
    try:
        return dataset if dataset is not None and len(dataset.images()) else None
    except StoreError:  # a check of the data set says more
        return None


def _keys(round_: Round, dataset: Dataset, stem: str) -> frozenset[str]:
    """Return the images that the table of this stem may have rows of."""
    stems = (stem,) if round_.compacted is None else round_.compacted[stem]
    shard_of = {shard_stem(shard): shard for shard in dataset.shards}
    return frozenset(key for stem in stems if stem in shard_of for key in dataset.keys_of(shard_of[stem]))


def _without_row(round_: Round, info: RoundInfo, dataset: Dataset | None, folder: str) -> Iterator[str]:
    """Yield a line for each shard with images that have no row, and one for those without a reason."""
    if dataset is None:
        return
    for stem, images in all_without_row(round_.path, [*map(shard_stem, dataset.shards)]):
        key, image = next(iter(images.items()))
        yield f"{len(images):,} images of {folder}/{stem}, which have no row; the first is {key}: {image.reason}"
    if unsaid := dataset.num_images - info.num_images - info.num_without_row:
        yield f"{unsaid:,} images of {folder}, which have no row and no reason: an earlier version left them out"


def _check_table(
    store: LabelStore,
    stem: str,
    folder: str,
    num_classes: int,
    expected_keys: frozenset[str] | None,
    *,
    quick: bool,
) -> tuple[int, int, Finding | None]:
    """Return images, boxes (0 in quick mode) and what is wrong; `expected_keys` is None where nobody knows them."""
    file = f"{folder}/{stem}.parquet"
    try:
        if quick:
            return int(open_parquet(store.path(stem)).metadata.num_rows), 0, None
        table = store.read(stem)
    except (StoreError, *UNREADABLE) as error:
        return 0, 0, Finding("unreadable label table", file, "a label table", reason(error))
    try:
        check_labels(table, num_classes=num_classes, where=file)
    except StoreError as error:
        return 0, 0, Finding("unsound labels", file, "sound labels", str(error))
    keys = frozenset(table["key"].to_pylist())
    foreign = frozenset() if expected_keys is None else keys - expected_keys
    if foreign:
        expected = f"rows of the {len(expected_keys or ()):,} images of its shards"
        got = f"{len(foreign):,} rows of other images, the first is {min(foreign)}"
        return len(table), 0, Finding("labels of other images", file, expected, got)
    return len(table), len(table["boxes"].combine_chunks().flatten()), None


def _totals(info: RoundInfo, folder: str, num_images: int, num_boxes: int | None) -> Iterator[Finding]:
    """Yield what round.json counts otherwise; `num_boxes` is None where no box was counted."""
    if num_images != info.num_images or num_boxes not in (None, info.num_boxes):
        expected = f"{info.num_images:,} images with {info.num_boxes:,} boxes"
        got = f"{num_images:,} images" + ("" if num_boxes is None else f" with {num_boxes:,} boxes")
        yield Finding("count that round.json does not say", f"{folder}/{ROUND_FILE}", expected, got)


def _last_part(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]
