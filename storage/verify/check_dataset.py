"""A data set at rest, checked from its first file to its last image.

In: the root of a set that `mixpl shard` wrote, a path or URL. Out: `Checked`: what was looked at and every
`Finding`. The tables are held against each other and against the folder here; the shards, one at a time for each
worker, in `storage.verify.check_shard`. Memory: the image table (0.7 kB an image at the peak, measured at 40,000
images) and one shard a worker. Nothing is changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
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
    Dataset,
    images_hash,
)
from storage.errors import StoreError
from storage.tables.parquet import UNREADABLE, read_parquet, reason
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


def check_dataset(root: str, *, quick: bool = False, workers: int = 1, on_shard: OnShard) -> CheckResult:
    """Check a data set. Raises StoreError when the folder holds nothing that ever was one."""
    checked = CheckResult(root=root)
    dataset = _opened(root, checked.findings)
    images = None if dataset is None else _image_table(dataset, checked.findings)
    if dataset is None or images is None:
        return checked
    checked.name, checked.origin = dataset.name, _origin(dataset)
    checked.findings.add(_heads(dataset, images))
    checked.findings.add(_folder(dataset))
    num_boxes = dict.fromkeys(_truths(dataset), 0)
    for report in _reports(list(_shards(dataset, images)), _tasks(dataset, images, quick), workers):
        checked.num_files += 1
        checked.num_images += report.num_images
        checked.num_bytes += report.num_bytes
        for folder, count in report.num_boxes.items():
            num_boxes[folder] += count
        checked.findings.add(report.findings)
        if not on_shard(report):
            checked.stopped = True
            break
    checked.num_boxes = sum(num_boxes.values())
    if not checked.stopped and not checked.findings:  # whatever else is wrong would show here once more
        checked.findings.add(_totals(dataset, images, num_boxes))
    return checked


def num_shards(root: str) -> int:
    """Return how many shards there are to check; 0 where the set cannot be opened."""
    try:
        return len(Dataset.open(root).shards)
    except ValueError:
        return 0


def _origin(dataset: Dataset) -> str:
    source = dataset.source
    options = f"--images {source.get('images')} --per-shard {source.get('per_shard')}"
    return f"{source.get('annotations')} with {options}"


def _opened(root: str, findings: Findings) -> Dataset | None:
    try:
        return Dataset.open(root)
    except ValueError as error:
        message = str(error)
    if files.exists(files.join(root, PARTS_FOLDER)):
        findings.add([_finding("unfinished data set", DATASET_FILE, "the file written last", "none yet")])
    elif files.exists(files.join(root, DATASET_FILE)):
        findings.add([_finding("unreadable dataset.json", DATASET_FILE, "a description of the set", message)])
    elif files.exists(files.join(root, IMAGES_FILE)):
        findings.add(
            [_finding("unreadable dataset.json", DATASET_FILE, "a description of the set", "no file")]
        )
    else:
        raise StoreError(message)
    return None


def _image_table(dataset: Dataset, findings: Findings) -> pa.Table | None:
    location = files.join(dataset.root, IMAGES_FILE)
    try:
        table = read_parquet(location)
    except UNREADABLE as error:
        got = "no such file" if isinstance(error, FileNotFoundError) else reason(error)
        findings.add([_finding("unreadable image table", IMAGES_FILE, "the image table", got)])
        return None
    try:
        return table.select(IMAGE_SCHEMA.names).cast(IMAGE_SCHEMA)
    except (KeyError, ValueError) as error:
        expected = f"the columns {', '.join(IMAGE_SCHEMA.names)}"
        findings.add([_finding("unreadable image table", IMAGES_FILE, expected, str(error))])
        return None


def _heads(dataset: Dataset, images: pa.Table) -> Iterator[Finding]:
    """Yield what the image table says otherwise than itself or dataset.json."""
    if pc.count_distinct(images["key"]).as_py() != len(images):
        counted = pc.value_counts(images["key"])
        for twice in counted.filter(pc.greater(counted.field("counts"), 1)):
            got = f"{twice['counts'].as_py()} rows"
            yield _finding("key in two rows", IMAGES_FILE, "one row", got, key=twice["values"].as_py())
    for shard in pc.unique(images["shard"]).to_pylist():
        if shard not in dataset.shards:
            kind = "shard that dataset.json does not list"
            yield _finding(kind, IMAGES_FILE, f"{len(dataset.shards)} shards as listed", f"rows of {shard}")
    if len(dataset.classes) != len(dataset.category_ids):
        got = f"{len(dataset.classes)} classes with {len(dataset.category_ids)} ids"
        yield _finding("unreadable dataset.json", DATASET_FILE, "an id for each class", got)


def _folder(dataset: Dataset) -> Iterator[Finding]:
    """Yield the files that nothing speaks of."""
    known = set(dataset.shards)
    for location in files.list_files(dataset.root, ".tar"):
        if (name := location.rsplit("/", 1)[-1]) not in known:
            yield _finding("stray shard", name, f"the {len(known)} shards of {DATASET_FILE} only", "one more")
    tables = {shard.removesuffix(".tar") + ".parquet" for shard in known}
    for folder in TRUTH_FOLDERS:
        expected = tables if folder in _truths(dataset) else set()
        for location in files.list_files(files.join(dataset.root, folder), ".parquet"):
            if (name := location.rsplit("/", 1)[-1]) not in expected:
                yield _finding("stray table", f"{folder}/{name}", "a table for each shard only", "one more")
    for folder in ("", *TRUTH_FOLDERS):
        for location in files.leftovers(files.join(dataset.root, folder)):
            name = files.join(folder, location.rsplit("/", 1)[-1])
            yield _finding("leftover of a killed writer", name, "whole files only", "a temporary file")
    if files.exists(files.join(dataset.root, PARTS_FOLDER)):
        got = "the folder of an unfinished one"
        yield _finding("leftover of a killed writer", PARTS_FOLDER, "a finished data set", got)


def _truths(dataset: Dataset) -> tuple[str, ...]:
    there = {"ground_truth": dataset.labeled, "hidden_truth": dataset.has_hidden_truth}
    return tuple(folder for folder in TRUTH_FOLDERS if there[folder])


def _shards(dataset: Dataset, images: pa.Table) -> Iterator[str]:
    """Yield every shard that dataset.json or the image table names."""
    yield from dataset.shards
    yield from (shard for shard in pc.unique(images["shard"]).to_pylist() if shard not in dataset.shards)


def _tasks(dataset: Dataset, images: pa.Table, quick: bool) -> Iterator[ShardTask]:
    """Yield the shards one by one, each with a copy of its own rows."""
    encoded = images["shard"].combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    numbers_R = encoded.indices.to_numpy()
    order_R = np.argsort(numbers_R, kind="stable")
    ends = np.cumsum(np.bincount(numbers_R, minlength=len(encoded.dictionary)))
    rows = dict(zip(encoded.dictionary.to_pylist(), np.split(order_R, ends[:-1]), strict=True))
    for shard in _shards(dataset, images):
        yield ShardTask(
            root=dataset.root,
            shard=shard,
            images=images.take(pa.array(rows.get(shard, order_R[:0]))),
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


def _totals(dataset: Dataset, images: pa.Table, num_boxes: dict[str, int]) -> Iterator[Finding]:
    """Yield what dataset.json counts otherwise, where every shard, table and image is well."""
    kind = "count that dataset.json does not say"
    if len(images) != dataset.num_images:
        yield _finding(kind, DATASET_FILE, f"{dataset.num_images:,} images", f"{len(images):,}")
    if dataset.labeled and num_boxes["ground_truth"] != dataset.num_boxes:
        got = f"{num_boxes['ground_truth']:,}"
        yield _finding(kind, DATASET_FILE, f"{dataset.num_boxes:,} boxes of ground truth", got)
    if images_hash(images) != dataset.hash:
        expected = "the images with which the set was written"
        got = "other keys or hashes in images.parquet"
        yield _finding("hash that dataset.json does not say", DATASET_FILE, expected, got)


def _finding(kind: str, place: str, expected: str, got: str, *, key: str | None = None) -> Finding:
    return Finding(kind=kind, place=place, key=key, expected=expected, got=got)
