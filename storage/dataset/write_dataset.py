"""From a source of images to a complete sharded data set, by several processes, through any number of kills.

In: an `ImageSet`, the folder of its images, a folder to write to. Out: the files that `storage.dataset.dataset`
describes, `dataset.json` last. Guarantees: killed at any moment and called again with the same arguments it
goes on after the complete shards and ends in the same bytes; called with other arguments it refuses; two
writers of one folder cannot run at once. Progress lies in ROOT/.parts until the end.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from storage import files
from storage.claims import locked
from storage.dataset.dataset import DATASET_FILE, IMAGES_FILE, PARTS_FOLDER, REWRITE, Dataset, images_hash
from storage.dataset.skipped_report import SKIPPED, SKIPPED_FILE, SkippedReport
from storage.dataset.write_shard import ShardPart, ShardTask, read_part
from storage.dataset.write_shards import OnShard, write_shards
from storage.errors import ConfigError, SourceError, StoreError
from storage.json_head import HeadFormat
from storage.readers.image_set import ImageSet
from storage.tables.parquet import write_parquet
from storage.truth import Truth

PLAN_FILE = "plan.json"
OPTIONS = ("difficult", "columns", "boxes")
"""Notes of a source that are there only where an option was given."""


_PLAN = HeadFormat(kind=dict[str, Any], what="the plan of a data set", remedy=REWRITE)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Written:
    """A data set that now stands, and what was left out of it."""

    dataset: Dataset
    skipped: list[dict[str, Any]]
    """image_id, file_name and reason of each image left out."""
    num_resumed: int
    """Shards found complete from an earlier run."""
    was_complete: bool
    """Whether nothing was left to do."""


def write_dataset(
    root: str,
    source: ImageSet,
    *,
    images_root: str,
    name: str,
    per_shard: int = 256,
    workers: int = 1,
    strict: bool = False,
    hidden: ImageSet | None = None,
    on_shard: OnShard | None = None,
) -> Written:
    """Write the shards, tables and `dataset.json` of a source.

    `hidden` is the truth of an unlabeled source, kept apart. Raises StoreError when the folder holds another
    data set or an unfinished one of other arguments, and SourceError when no image can be read, and with `strict`
    when any image or annotation would be skipped.
    """
    if per_shard < 1 or workers < 1:
        raise ConfigError(f"expected --per-shard and --workers of 1 or more, got {per_shard} and {workers}")
    if strict and source.problems:
        raise SourceError(f"expected a sound source (--strict), got {'; '.join(source.problems.lines())}")
    if not len(source):
        raise SourceError(
            f"expected at least one image, got none: {source.path}; give a file that names some"
        )
    _refuse_lost(source, len(source.truth.labels.boxes_N4) if source.truth else None)
    arguments = _arguments(source, images_root, name, per_shard, hidden)
    if files.exists(files.join(root, DATASET_FILE)):
        return _complete(root, arguments, strict)
    tasks = _tasks(root, source, images_root, per_shard, strict, _hidden_truth(source, hidden))
    with locked(files.join(root, PARTS_FOLDER, "lock"), command="mixpl shard"):
        if files.exists(files.join(root, DATASET_FILE)):  # another process finished it meanwhile
            return _complete(root, arguments, strict)
        _check_plan(root, arguments, images_root)
        resumed = {task.stem for task in tasks if read_part(task) is not None}
        parts = write_shards(tasks, images_root, workers, on_shard or (lambda _: None))
        dataset, skipped = _finish(root, source, arguments, parts, hidden)
    return Written(dataset=dataset, skipped=skipped, num_resumed=len(resumed), was_complete=False)


def _refuse_lost(source: ImageSet, num_boxes: int | None) -> None:
    """Raise SourceError where a source annotates objects and none of them becomes a box to train on."""
    if num_boxes == 0 and source.num_annotations:
        raise SourceError(
            f"expected a box of at least one of {source.num_annotations:,} annotations, got none "
            f"({'; '.join(source.problems.lines()) or 'their images are left out'}): {source.path}; correct the "
            "annotations, or write the images without labels with --unlabeled"
        )


def _count_lost_boxes(source: ImageSet, truth: Truth, left_out: Collection[int]) -> None:
    """Count the boxes of images that are left out."""
    rows = [row for row, image_id in enumerate(source.image_ids) if image_id in left_out]
    for labels in (truth.labels, truth.crowds, truth.difficult):
        if labels is not None and rows:
            images_N = labels.image_rows()
            source.problems.remark_rows(
                "box of an image that is left out (dropped)",
                np.flatnonzero(np.isin(images_N, rows)),
                lambda row, images_N=images_N, labels=labels: (  # type: ignore[misc]
                    f"{source.file_names[images_N[row]]}: {source.classes[labels.categories_N[row]]}"
                ),
            )


def _arguments(
    source: ImageSet, images_root: str, name: str, per_shard: int, hidden: ImageSet | None
) -> dict[str, Any]:
    return {
        "name": name,
        "annotations": source.path.rstrip("/").rsplit("/", 1)[-1],
        "annotations_sha256": source.sha256,
        "images": images_root,
        "per_shard": per_shard,
        "hidden_truth_sha256": hidden.sha256 if hidden else None,
        "classes": list(source.classes),
        **source.notes,
    }


def _complete(root: str, arguments: dict[str, Any], strict: bool) -> Written:
    dataset = Dataset.open(root)
    _compare({**dataset.source, "name": dataset.name, "classes": list(dataset.classes)}, arguments, root)
    report = SKIPPED.read(files.join(root, SKIPPED_FILE))
    names = (IMAGES_FILE, *dataset.shards)
    missing = [name for name in names if not files.exists(files.join(root, name))]
    if report is None or missing:
        raise StoreError(
            f"expected {missing[0] if missing else SKIPPED_FILE} as {DATASET_FILE} says, got no such file: {root}; "
            f"{REWRITE}"
        )
    files.remove_folder(files.join(root, PARTS_FOLDER))
    if strict and report.images:
        raise StoreError(
            f"expected only sound images (--strict), got {len(report.images):,} skipped earlier: "
            f"{files.join(root, SKIPPED_FILE)}; {REWRITE}"
        )
    return Written(dataset=dataset, skipped=report.images, num_resumed=len(dataset.shards), was_complete=True)


def _compare(before: dict[str, Any], now: dict[str, Any], root: str) -> None:
    """Refuse to continue with other arguments. The spelling of the image folder is not compared."""
    for field in [field for field in now if field not in {"images", "annotations"}] + list(OPTIONS):
        if before.get(field) != now.get(field):
            raise StoreError(
                f"expected the arguments of the run that began this data set, got {field} {now.get(field)!r} "
                f"instead of {before.get(field)!r}: {root}; repeat them, or write to another folder"
            )


def _hidden_truth(source: ImageSet, hidden: ImageSet | None) -> Truth | None:
    """Return the kept-apart truth in the order of the source's images."""
    if hidden is None:
        return None
    if source.truth is not None:
        raise StoreError(
            f"expected hidden truth with an unlabeled source only, got a labeled one: {source.path}; "
            "leave out --hidden-truth"
        )
    if hidden.truth is None or hidden.classes != source.classes:
        raise StoreError(
            f"expected the annotations and classes of {source.path}, got "
            f"{'no annotations' if hidden.truth is None else 'other classes'}: {hidden.path}; "
            "give the truth file that `mixpl split` wrote beside it"
        )
    rows = {image_id: row for row, image_id in enumerate(hidden.image_ids)}
    missing = [image_id for image_id in source.image_ids if image_id not in rows]
    if missing:
        raise StoreError(
            f"expected the truth of {len(source):,} images, got none for {len(missing):,}, the first with id "
            f"{missing[0]}: {hidden.path}; give the truth file of the same split"
        )
    return Truth.concatenate([hidden.truth.image(rows[image_id]) for image_id in source.image_ids])


def _tasks(
    root: str, source: ImageSet, images_root: str, per_shard: int, strict: bool, hidden: Truth | None
) -> list[ShardTask]:
    split = dict(source.split or {})
    return [
        ShardTask(
            root=root,
            stem=f"shard-{start // per_shard:06d}",
            images_root=images_root,
            image_ids=source.image_ids[start : start + per_shard],
            file_names=source.file_names[start : start + per_shard],
            sizes=source.sizes[start : start + per_shard],
            truth=source.truth.images(start, start + per_shard) if source.truth else None,
            hidden=hidden.images(start, start + per_shard) if hidden else None,
            frame=source.frame,
            num_classes=len(source.classes),
            split_part=split.get("part"),
            provenance={"annotations_sha256": source.sha256, "split_hash": split.get("hash")},
            strict=strict,
        )
        for start in range(0, len(source), per_shard)
    ]


def _check_plan(root: str, arguments: dict[str, Any], images_root: str) -> None:
    where = os.path.realpath(images_root) if files.is_local(images_root) else images_root
    plan = {**arguments, "images_folder": where}
    location = files.join(root, PARTS_FOLDER, PLAN_FILE)
    before = _PLAN.read(location)
    if before is not None:
        _compare(before, plan, root)
    elif foreign := files.list_files(root, ".tar"):
        files.remove_folder(files.join(root, PARTS_FOLDER))  # it would name the folder an unfinished data set
        raise StoreError(
            f"expected a folder without tar files of another origin, got {foreign[0]}; "
            "name another folder to write to, or empty this one"
        )
    else:
        _PLAN.write(location, plan)


def _finish(
    root: str, source: ImageSet, arguments: dict[str, Any], parts: list[ShardPart], hidden: ImageSet | None
) -> tuple[Dataset, list[dict[str, Any]]]:
    images = pa.concat_tables([part.images for part in parts])
    skipped = [entry for part in parts for entry in part.skipped]
    if not len(images):
        files.remove_folder(files.join(root, PARTS_FOLDER))
        raise SourceError(
            f"expected at least one sound image, got none of {len(source):,}, the first because of "
            f"{skipped[0]['reason']}: {skipped[0]['file_name']} in {arguments['images']}; check --images"
        )
    num_boxes = sum(part.num_boxes for part in parts) if source.truth else None
    write_parquet(files.join(root, IMAGES_FILE), images, compression="zstd")
    for part in parts:
        for kind, examples in part.remarks.items():
            for example in examples:
                source.problems.remark(kind, example)
    if skipped:
        _refuse_lost(source, num_boxes)
    left_out = {entry["image_id"] for entry in skipped}
    for image_set in (source, hidden):
        if image_set is not None and image_set.truth is not None:
            _count_lost_boxes(image_set, image_set.truth, left_out)
    report = SkippedReport(
        num_skipped=len(skipped),
        images=skipped,
        annotations=source.problems.as_json(),
        hidden_truth=hidden.problems.as_json() if hidden else {},
    )
    SKIPPED.write(files.join(root, SKIPPED_FILE), report)
    for folder in ("", "ground_truth", "hidden_truth"):
        files.remove_leftovers(files.join(root, folder))
    dataset = Dataset(
        root=root,
        name=arguments["name"],
        classes=source.classes,
        category_ids=source.category_ids,
        num_images=len(images),
        num_boxes=num_boxes,
        labeled=source.truth is not None,
        has_hidden_truth=hidden is not None,
        source={key: value for key, value in arguments.items() if key not in {"name", "classes"}},
        split=source.split,
        shards=tuple(sorted(set(images["shard"].to_pylist()))),
        hash=images_hash(images),
    )
    dataset.write()
    files.remove_folder(files.join(root, PARTS_FOLDER))
    return dataset, skipped
