"""A round from its choice to `round.json`: which one these weights write, and how it is declared complete.

In: where the labels come from (the provenance) and, once every shard has its table, the counts of the tables.
Out: a complete round and one line about it. Guarantees: labels of two teachers never lie in one round; a complete
round is never changed; of workers that are done at the same moment one completes the round.
"""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc

from analysis.thresholds import ThresholdPolicy
from jobs.labeling.round_thresholds import write_class_thresholds
from storage import files
from storage.dataset.dataset import Dataset, shard_stem
from storage.errors import ConfigError, InputError, StoreError
from storage.rounds.round import ROUND_FILE, Round, RoundInfo, list_rounds, open_round, round_path
from storage.rounds.without_row import all_without_row
from storage.verify.findings import DELETE_TABLE


def choose_round(root: str, provenance: dict[str, Any], *, score_threshold: float) -> Round:
    """Return the round that was begun or finished with this provenance, or a new one, begun with it.

    What killed workers left is removed. Raises ConfigError when that round has another score threshold.
    """
    round_ = _begun_round(root, provenance, score_threshold)
    for folder in (root, round_.path):
        files.remove_leftovers(folder)
    return round_


def _begun_round(root: str, provenance: dict[str, Any], score_threshold: float) -> Round:
    rounds = list_rounds(root)
    for round_ in reversed(rounds):
        terms = round_.terms()
        if terms is not None and terms.get("provenance") == provenance:
            return _require_threshold(round_, terms, score_threshold)
    number = 1 + max((round_.number for round_ in rounds), default=0)
    new = open_round(round_path(root, number))
    if new.begin({"provenance": provenance, "score_threshold": score_threshold}):
        return new
    return _begun_round(root, provenance, score_threshold)  # another process was faster


def _require_threshold(round_: Round, terms: dict[str, Any], score_threshold: float) -> Round:
    if terms.get("score_threshold") != score_threshold:
        raise ConfigError(
            f"expected --score-threshold {terms.get('score_threshold')}, as the same weights began "
            f"{round_.path}, got {score_threshold}; ask `labels` in SQL for boxes above another score, or name "
            "another --out"
        )
    return round_


def complete_round(
    round_: Round, info: RoundInfo, *, num_above: int, policy: ThresholdPolicy, labeled: Dataset | None
) -> None:
    """Give the round its thresholds and declare it complete, unless another worker was faster.

    `num_above` counts the boxes above the one threshold of the fixed policy; the others count by class.
    """
    try:
        thresholds = write_class_thresholds(
            round_, policy, classes=info.classes, score_threshold=info.score_threshold, labeled=labeled
        )
        round_.finish(info)
    except InputError:
        # Workers that are done at the same moment all see every shard labeled and all come here.
        if not open_round(round_.path).complete:
            raise
        print(f"{round_.path}: another worker completed the round")
        return
    above = f"score > {info.score_threshold:g}"
    if thresholds is not None:
        num_above = pc.sum(thresholds["pseudo_labels"]).as_py()
        above = "a score above the threshold of their class"
    print(
        f"{round_.path}: {info.num_images} images, {num_above} pseudo labels with {above} "
        f"(of {info.num_boxes} boxes kept), {info.seconds:.1f} s"
    )


def say_without_row(round_: Round, info: RoundInfo, dataset: Dataset) -> None:
    """Say how many images of the data set have no row in a complete round, and why."""
    for stem, images in all_without_row(round_.path, [*map(shard_stem, dataset.shards)]):
        key, image = next(iter(images.items()))
        print(f"  {stem}: {len(images):,} images have no row, the first is {key}: {image.reason}")
    unsaid = dataset.num_images - info.num_images - info.num_without_row
    if unsaid:
        print(
            f"  {unsaid:,} images have no row and no reason: an earlier version completed the round without them; "
            f"to label them, delete {files.join(round_.path, ROUND_FILE)} and run the same command again"
        )


def require_tables(round_: Round, dataset: Dataset) -> None:
    """Raise StoreError when a complete round has lost a table: whoever reads it sees fewer images."""
    if lost := round_.lost_tables(dataset.shards):
        raise StoreError(
            f"expected every table of a complete round, got {len(lost):,} missing, the first is {lost[0]}: "
            f"{round_.path}; {DELETE_TABLE}"
        )


def require_not_compacted(round_: Round) -> None:
    """Raise StoreError for an incomplete round whose tables are packed: new ones would stand beside those."""
    if round_.compacted is not None:
        raise StoreError(
            f"expected {ROUND_FILE} in a compacted round, got none: {round_.path}; restore it, or delete the whole "
            "folder and run the same command again"
        )
