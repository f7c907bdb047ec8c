"""A data set at rest, checked from its first file to its last image.

In: the root of a set that `mixpl shard` wrote, a path or URL. Out: `CheckResult`: what was looked at and every
`Finding`. The tables are held against each other and against the folder here; the shards, one at a time for each
worker, in `storage.verify.check_shard`. Memory: the image table (0.7 kB an image at the peak, measured at 40,000
images) and one shard a worker. Nothing is changed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage import files
from storage.dataset.dataset import (
    DATASET_FILE,
    IMAGE_SCHEMA,
    IMAGES_FILE,
    PARTS_FOLDER,
    REWRITE,
    Dataset,
    images_hash,
    shard_stem,
)
from storage.dataset.skipped_report import set_apart
from storage.errors import StoreError
from storage.stored_names import is_below
from storage.tables.parquet import UNREADABLE, read_parquet, reason, with_schema
from storage.tables.row_index import rows_by_value
from storage.verify.check_shard import ShardReport, ShardTask, check_shard
from storage.verify.findings import Finding, Findings
from storage.worker_pool import spawn_pool

TRUTH_FOLDERS = ("ground_truth", "hidden_truth")

OnShard = Callable[[ShardReport], bool]
"""Told of each shard when it is checked; returns whether to go on."""


@dataclass(kw_only=True, slots=True)
class CheckResult:
    """What was looked at, and what was found."""

    root: str
    name: str = ""
    origin: str = ""
    """Of what `mixpl shard` wrote the set, as far as dataset.json tells."""
    what: str = "shards"
    """What `num_files` counts."""
    num_files: int = 0
    num_images: int = 0
    num_boxes: int = 0
    num_bytes: int = 0
    stopped: bool = False
    """Whether `OnShard` ended it before the last shard."""
    findings: Findings = field(default_factory=Findings)
    set_apart: list[str] = field(default_factory=list)
    """What is not in the set, or not trained on, and why, as `mixpl shard` counted it: a line a kind."""


def check_dataset(root: str, *, quick: bool = False, workers: int = 1, on_shard: OnShard) -> CheckResult:
    """Check a data set. Raises StoreError when the folder holds nothing that ever was one."""
    result = CheckResult(root=root)
    dataset = _open(root, result.findings)
    images = None if dataset is None else _image_table(dataset, result.findings)
    if dataset is None or images is None:
        return result
    result.name, result.origin = dataset.name, _origin(dataset)
    result.set_apart = set_apart(root)
    result.findings.add(*_heads(dataset, images), *_folder(dataset))
    num_boxes = Counter(dict.fromkeys(_truths(dataset), 0))
    for report in _reports(list(_shards(dataset, images)), _tasks(dataset, images, quick), workers):
        result.num_files += 1
        result.num_images += report.num_images
        result.num_bytes += report.num_bytes
        num_boxes.update(report.num_boxes)
        result.findings.add(*report.findings)
        if not on_shard(report):
            result.stopped = True
            break
    result.num_boxes = num_boxes.total()
    if not result.stopped and not result.findings:  # whatever else is wrong would show here once more
        result.findings.add(*_totals(dataset, images, num_boxes))
    return result


def num_shards(root: str) -> int:
    """Return how many shards there are to check; 0 where the set cannot be opened."""
    try:
        return len(Dataset.open(root).shards)
    except StoreError:
        return 0


def _origin(dataset: Dataset) -> str:
    source = dataset.source
    options = f"--images {source.get('images')} --per-shard {source.get('per_shard')}"
    return f"{source.get('annotations')} with {options}"


def _open(root: str, findings: Findings) -> Dataset | None:
    try:
        return Dataset.open(root)
    except StoreError as error:
        kind, expected, got = "unreadable dataset.json", "a description of the set", str(error)
        if files.exists(files.join(root, PARTS_FOLDER)):
            kind, expected, got = "unfinished data set", "the file written last", "none yet"
        elif not files.exists(files.join(root, DATASET_FILE)):
            if not files.exists(files.join(root, IMAGES_FILE)):
                raise
            got = "no file"
        findings.add(Finding(kind, DATASET_FILE, expected, got))
        return None


def _image_table(dataset: Dataset, findings: Findings) -> pa.Table | None:
    location = files.join(dataset.root, IMAGES_FILE)
    try:
        table = read_parquet(location)
        return with_schema(table, IMAGE_SCHEMA, where=location, remedy=REWRITE, nullable=("split",))
    except FileNotFoundError:
        got = "no such file"
    except (StoreError, *UNREADABLE) as error:
        got = reason(error)
    findings.add(Finding("unreadable image table", IMAGES_FILE, "the image table", got))
    return None


def _heads(dataset: Dataset, images: pa.Table) -> Iterator[Finding]:
    """Yield what the image table says otherwise than itself or dataset.json."""
    if pc.count_distinct(images["key"]).as_py() != len(images):
        counts = pc.value_counts(images["key"])
        for count in counts.filter(pc.greater(counts.field("counts"), 1)).to_pylist():
            got = f"{count['counts']} rows"
            yield Finding("key in two rows", IMAGES_FILE, "one row", got, key=count["values"])
    for shard in _unlisted(dataset, images):
        expected = f"{len(dataset.shards)} shards as listed"
        yield Finding("shard that dataset.json does not list", IMAGES_FILE, expected, f"rows of {shard}")


def _folder(dataset: Dataset) -> Iterator[Finding]:
    """Yield the files that nothing speaks of."""
    num_shards = len(dataset.shards)
    for name in sorted(_names(dataset, "", ".tar") - set(dataset.shards)):
        expected = f"the {num_shards} shards of {DATASET_FILE} only"
        yield Finding("stray shard", name, expected, "one more")
    tables = {shard_stem(shard) + ".parquet" for shard in dataset.shards}
    for folder in TRUTH_FOLDERS:
        known = tables if folder in _truths(dataset) else set()
        for name in sorted(_names(dataset, folder, ".parquet") - known):
            yield Finding("stray table", f"{folder}/{name}", "a table for each shard only", "one more")
    for folder in ("", *TRUTH_FOLDERS):
        for location in files.leftovers(files.join(dataset.root, folder)):
            name = files.join(folder, location.rsplit("/", 1)[-1])
            yield Finding("leftover of a killed writer", name, "whole files only", "a temporary file")
    if files.exists(files.join(dataset.root, PARTS_FOLDER)):
        got = "the folder of an unfinished one"
        yield Finding("leftover of a killed writer", PARTS_FOLDER, "a finished data set", got)


def _names(dataset: Dataset, folder: str, suffix: str) -> set[str]:
    locations = files.list_files(files.join(dataset.root, folder), suffix)
    return {location.rsplit("/", 1)[-1] for location in locations}


def _truths(dataset: Dataset) -> tuple[str, ...]:
    there = {"ground_truth": dataset.labeled, "hidden_truth": dataset.has_hidden_truth}
    return tuple(folder for folder in TRUTH_FOLDERS if there[folder])


def _unlisted(dataset: Dataset, images: pa.Table) -> list[str]:
    """Return the shards that the image table names and dataset.json does not."""
    return [shard for shard in pc.unique(images["shard"]).to_pylist() if shard not in dataset.shards]


def _shards(dataset: Dataset, images: pa.Table) -> Iterator[str]:
    """Yield every shard that dataset.json or the image table names, but for names that lead out of the folder."""
    yield from dataset.shards
    yield from filter(is_below, _unlisted(dataset, images))


def _tasks(dataset: Dataset, images: pa.Table, quick: bool) -> Iterator[ShardTask]:
    """Yield the shards one by one, each with a copy of its own rows."""
    rows, none = rows_by_value(images["shard"]), np.zeros(0, np.int64)
    for shard in _shards(dataset, images):
        yield ShardTask(
            root=dataset.root,
            shard=shard,
            images=images.take(pa.array(rows.get(shard, none))),
            truths=_truths(dataset),
            num_classes=len(dataset.classes),
            quick=quick,
        )


def _reports(shards: list[str], tasks: Iterator[ShardTask], workers: int) -> Iterator[ShardReport]:
    """Yield the reports in the order of the shards, a few ahead of the consumer."""
    workers = min(workers, len(shards))
    if workers <= 1:
        yield from map(check_shard, tasks)
        return
    pool = spawn_pool(workers)
    try:
        ahead = deque(pool.submit(check_shard, task) for task in islice(tasks, 2 * workers))
        while ahead:
            yield ahead.popleft().result()
            ahead.extend(pool.submit(check_shard, task) for task in islice(tasks, 1))
    except BrokenProcessPool:
        raise StoreError(
            "expected every worker process to live, got a dead one (out of memory?): verify again with fewer "
            "--workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _totals(dataset: Dataset, images: pa.Table, num_boxes: Mapping[str, int]) -> Iterator[Finding]:
    """Yield what dataset.json counts otherwise, where every shard, table and image is well."""
    kind = "count that dataset.json does not say"
    if len(images) != dataset.num_images:
        yield Finding(kind, DATASET_FILE, f"{dataset.num_images:,} images", f"{len(images):,}")
    if dataset.labeled and num_boxes["ground_truth"] != dataset.num_boxes:
        got = f"{num_boxes['ground_truth']:,}"
        yield Finding(kind, DATASET_FILE, f"{dataset.num_boxes:,} boxes of ground truth", got)
    if images_hash(images) != dataset.hash:
        expected = "the images with which the set was written"
        got = "other keys or hashes in images.parquet"
        yield Finding("hash that dataset.json does not say", DATASET_FILE, expected, got)
