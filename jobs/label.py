"""`mixpl label`: a teacher over unlabeled shards, one label table a shard.

In: a run or a checkpoint, and a data set. Out: `LABELS/round=0001/shard-000000.parquet …` and, last, `round.json`
with where the labels came from. Guarantees: a shard's labels exist completely or not at all; a round is complete
when every image of the data set has its row, or a reason that lies in the image as it was written; a job that is
started again skips what is whole and labels the rest; any number of workers may share a round without a lock
(`--worker 0 --workers 4`); a finished round is never changed, other weights make the next one. Under torchrun each
process is one worker.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro

from analysis.thresholds import ThresholdPolicy
from jobs.inference.predictions import PredictSettings
from jobs.inference.trained import TrainedDetector, Weights, choose_device, open_trained
from jobs.labeling.label_round import (
    choose_round,
    complete_round,
    require_not_compacted,
    require_tables,
    say_without_row,
)
from jobs.labeling.label_shards import LabelingOutcome, label_shards
from jobs.labeling.round_tables import RoundTables
from jobs.labeling.round_thresholds import require_same_thresholds
from jobs.recipes.detector_defaults import score_threshold, view_settings
from jobs.recipes.ranges import require_at_least
from jobs.run.interrupt import INTERRUPTED
from jobs.run.run_directory import versions
from storage import files
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError, StoreError
from storage.rounds.round import Round, RoundInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelConfig:
    """Which teacher labels what, and where the labels go."""

    run: Annotated[str, tyro.conf.Positional]
    """A run's folder (its newest checkpoint) or one checkpoint file."""
    data: str
    """Folder of the shards to label."""
    out: str = "labels"
    """Folder of the rounds."""
    weights: Weights = "teacher"
    """Whose weights."""
    score_threshold: float | None = None
    """Boxes above it are the round's pseudo labels, lower ones are kept beside; the run's own by default."""
    threshold_policy: ThresholdPolicy = "fixed"
    """fixed: --score-threshold for every class. prior: for each class as many boxes an image as in the labeled
    data. mixture: for each class where the upper of two Gaussians over its scores becomes the likelier one."""
    labeled: str | None = None
    """Labeled shards that the prior is taken from; those of the run by default."""
    accept_unreadable: bool = False
    """Complete the round though images cannot be read, or are not the bytes that the set was written with:
    round.json names them. Without it their shards are labeled by the next run, when they are whole again."""
    batch: int = 8
    """Most images a batch; what is found in an image does not depend on it."""
    threads: int = 1
    """Threads of the DALI graph."""
    worker: int = field(default_factory=lambda: int(os.environ.get("RANK", "0")))
    """Number of this process, from 0, when several share a round; set by torchrun."""
    workers: int = field(default_factory=lambda: int(os.environ.get("WORLD_SIZE", "1")))
    """Processes that share the round; each takes every n-th shard; set by torchrun."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to predict."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_at_least(1, self, "batch", "threads")
        if self.score_threshold is not None and not 0 <= self.score_threshold < 1:
            raise ConfigError(f"--score-threshold must lie in 0 .. 1, got {self.score_threshold}")
        if not 0 <= self.worker < self.workers:
            raise ConfigError(f"--worker must lie in 0 .. workers - 1, got {self.worker} of {self.workers}")


def label(config: LabelConfig) -> int:
    """Label every shard that has no whole table yet; return 0, or 130 when interrupted.

    Raises StoreError when images of a shard could not be read, after every other shard is labeled.
    """
    trained = open_trained(config.run, weights=config.weights, device=choose_device(config.device))
    dataset = Dataset.open(config.data)
    dataset.require_same_classes(trained.classes, lender=trained.config.data.labeled)
    provenance = _provenance(trained, dataset)
    threshold = score_threshold(trained.config) if config.score_threshold is None else config.score_threshold
    round_ = choose_round(config.out, provenance, score_threshold=threshold)
    if round_.info is not None:
        require_same_thresholds(round_, policy=config.threshold_policy, score_threshold=threshold)
        require_tables(round_, dataset)
        print(f"{round_.path} is complete: {round_.info.num_boxes} boxes by the same weights; nothing to do")
        say_without_row(round_, round_.info, dataset)
        return 0
    require_not_compacted(round_)
    return _label_round(config, trained, dataset, round_, provenance, threshold)


def _label_round(
    config: LabelConfig,
    trained: TrainedDetector,
    dataset: Dataset,
    round_: Round,
    provenance: dict[str, Any],
    threshold: float,
) -> int:
    """Label this worker's shards of a round; the last worker to be done completes it."""
    labeled = _labeled(config, trained) if config.threshold_policy == "prior" else None
    store = round_.labels(num_classes=len(trained.classes))
    tables = RoundTables(
        store, dataset, score_threshold=threshold, accept_unreadable=config.accept_unreadable
    )
    settings = PredictSettings(
        view=view_settings(trained.config),
        batch=config.batch,
        threads=config.threads,
        device=choose_device(config.device),
    )
    shards = dataset.shards[config.worker :: config.workers]
    began = time.monotonic()
    outcome = label_shards(
        trained,
        dataset,
        shards,
        tables,
        settings,
        {**provenance, "round": round_.number},
    )
    if outcome.interrupted:
        print(f"stopped; run the same command again to continue {round_.path}")
        return INTERRUPTED
    _require_labels(outcome, len(shards), round_)
    # First only whether they are there: of many workers the last one looks into the tables of the others.
    missing = tables.missing(dataset.shards) or tables.unfinished(dataset.shards)
    if missing:
        print(
            f"{round_.path}: {len(missing)} of {len(dataset.shards)} shards have no labels of every image yet, the "
            f"first is {missing[0]}; the round is complete when the other workers are done"
        )
        return 0
    counts = tables.total()
    info = RoundInfo(
        number=round_.number,
        dataset_name=dataset.name,
        dataset_root=dataset.root,
        dataset_hash=dataset.hash,
        classes=trained.classes,
        score_threshold=threshold,
        num_images=counts.images,
        num_boxes=counts.boxes,
        num_without_row=counts.without_row,
        accepted_unreadable=counts.accepted,
        sha256=tables.sha256,
        seconds=time.monotonic() - began,
        provenance=provenance,
    )
    complete_round(round_, info, num_above=counts.above, policy=config.threshold_policy, labeled=labeled)
    say_without_row(round_, info, dataset)
    return 0


def _require_labels(outcome: LabelingOutcome, num_shards: int, round_: Round) -> None:
    """Raise StoreError when images of one of this process's shards could not be had."""
    if outcome.unread:
        shard, images = next(iter(outcome.unread.items()))
        raise StoreError(
            f"expected labels of {num_shards:,} shards, got none of {len(outcome.unread):,}, the first is {shard}: "
            f"image {images[0].key}: {images[0].reason}; restore it and run the same command again, which labels "
            f"what is left and completes {round_.path}, or complete it without such images (--accept-unreadable)"
        )


def _labeled(config: LabelConfig, trained: TrainedDetector) -> Dataset:
    """Return the labeled data for the prior, before anything is labeled in vain."""
    location = config.labeled or trained.config.data.labeled
    if not files.exists(location):
        raise ConfigError(
            f"expected labeled shards for --threshold-policy prior, got nothing at {location}; give --labeled"
        )
    labeled = Dataset.open(location)
    if not labeled.labeled:
        raise ConfigError(
            f"expected labeled shards for the prior, got unlabeled ones: {location}; give --labeled"
        )
    labeled.require_same_classes(trained.classes, lender=trained.config.data.labeled)
    return labeled


def _provenance(trained: TrainedDetector, dataset: Dataset) -> dict[str, Any]:
    return {
        "run": trained.run.name,
        "weights": trained.weights,
        "weights_hash": trained.weights_hash,
        "config_hash": trained.config_hash,
        "split_hash": trained.split_hash,
        "teacher_step": trained.step,
        "dataset": dataset.name,
        "dataset_hash": dataset.hash,
        "code_version": versions()["mixpl"],
    }
