"""`mixpl label`: a teacher over unlabeled shards, one label table a shard.

In: a run or a checkpoint, and a data set. Out: `LABELS/round=0001/shard-000000.parquet …` and, last, `round.json`
with where the labels came from. Guarantees: a shard's labels exist completely or not at all; a killed job that is
started again skips what exists; any number of workers may share a round without a lock (`--worker 0 --workers 4`);
a finished round is never changed, other weights make the next one. Under torchrun each process is one worker.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import tyro

from analysis.thresholds import ThresholdPolicy
from jobs.console.progress import Progress
from jobs.inference.predictions import PredictSettings, name_skipped, predict
from jobs.inference.trained import TrainedDetector, Weights, choose_device, open_trained
from jobs.labeling.round_thresholds import require_same_thresholds, write_class_thresholds
from jobs.run.interrupt import INTERRUPTED, Interrupt
from jobs.run.run_directory import versions
from pipeline.loaders.predict_loader import SkippedImage
from storage import files
from storage.database.connect import connect
from storage.database.workspace import Workspace
from storage.dataset.dataset import Dataset, shard_stem
from storage.errors import ConfigError
from storage.rounds.round import ROUND_FILE, Round, RoundInfo, list_rounds, open_round, round_path
from storage.tables.label_store import LabelStore
from storage.verify.findings import DELETE_TABLE


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
    batch: int = 8
    """Images a batch."""
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
        if self.score_threshold is not None and not 0 <= self.score_threshold < 1:
            raise ConfigError(f"--score-threshold must lie in 0 .. 1, got {self.score_threshold}")
        if not 0 <= self.worker < self.workers:
            raise ConfigError(f"--worker must lie in 0 .. workers - 1, got {self.worker} of {self.workers}")


def label(config: LabelConfig) -> int:
    """Label every shard that has no table yet; return 0, or 130 when interrupted.

    Raises ConfigError when a shard cannot be read at all, after every other shard is labeled.
    """
    device = choose_device(config.device)
    trained = open_trained(config.run, weights=config.weights, device=device)
    dataset = Dataset.open(config.data)
    dataset.require_same_classes(trained.classes)
    provenance = _provenance(trained, dataset)
    threshold = (
        trained.config.pseudo.score_threshold if config.score_threshold is None else config.score_threshold
    )
    round_ = choose_round(config.out, provenance, score_threshold=threshold)
    if round_.info is not None:
        require_same_thresholds(round_, policy=config.threshold_policy, score_threshold=threshold)
        _require_tables(round_, dataset)
        print(f"{round_.path} is complete: {round_.info.num_boxes} boxes by the same weights; nothing to do")
        return 0
    if round_.compacted is not None:  # tables written now would stand beside those that tables.json names
        raise ConfigError(
            f"expected {ROUND_FILE} in a compacted round, got none: {round_.path}; restore it, or delete the whole "
            "folder and run the same command again"
        )
    labeled = _labeled(config, trained) if config.threshold_policy == "prior" else None
    store = round_.labels(num_classes=len(trained.classes))
    settings = PredictSettings(
        view=trained.config.view, batch=config.batch, threads=config.threads, device=device
    )
    mine = dataset.shards[config.worker :: config.workers]
    began = time.monotonic()
    if not _label_shards(trained, dataset, mine, store, settings, {**provenance, "round": round_.number}):
        print(f"stopped; run the same command again to continue {round_.path}")
        return INTERRUPTED
    _require_labels(round_, mine)
    if _all_labeled(round_, dataset):
        seconds = time.monotonic() - began
        info = _describe(round_, dataset, trained.classes, threshold, provenance, seconds=seconds)
        complete_round(round_, info, policy=config.threshold_policy, labeled=labeled)
    return 0


def complete_round(
    round_: Round, info: RoundInfo, *, policy: ThresholdPolicy, labeled: Dataset | None
) -> None:
    """Give the round its thresholds and declare it complete, unless another worker was faster.

    Workers that are done at the same moment all find every shard labeled.
    """
    try:
        write_class_thresholds(
            round_, policy, classes=info.classes, score_threshold=info.score_threshold, labeled=labeled
        )
        finished = round_.finish(info)
    except ValueError:
        if not open_round(round_.path).complete:
            raise
        print(f"{round_.path}: another worker completed the round")
        return
    with connect(Workspace(rounds=(finished,))) as con:
        [(num_above,)] = con.execute("SELECT count(*) FROM pseudo_labels").fetchall()
    if finished.thresholds() is None:
        above = f"score > {info.score_threshold:g}"
    else:
        above = "a score above the threshold of their class"
    print(
        f"{round_.path}: {info.num_images} images, {num_above} pseudo labels with {above} "
        f"(of {info.num_boxes} boxes kept), {info.seconds:.1f} s"
    )


def choose_round(root: str, provenance: dict[str, Any], *, score_threshold: float) -> Round:
    """Return the round that was begun or finished with this provenance, or a new one, begun with it.

    Raises ConfigError when that round has another score threshold.
    """
    rounds = list_rounds(root)
    for round_ in reversed(rounds):
        terms = round_.terms()
        if terms is not None and terms.get("provenance") == provenance:
            return _require_threshold(round_, terms, score_threshold)
    number = 1 + max((round_.number for round_ in rounds), default=0)
    new = open_round(round_path(root, number))
    if new.begin({"provenance": provenance, "score_threshold": score_threshold}):
        return new
    return choose_round(root, provenance, score_threshold=score_threshold)  # another process was faster


def _require_threshold(round_: Round, terms: dict[str, Any], score_threshold: float) -> Round:
    if terms.get("score_threshold") != score_threshold:
        raise ConfigError(
            f"expected --score-threshold {terms.get('score_threshold')}, as the same weights began "
            f"{round_.path}, got {score_threshold}; ask `labels` in SQL for boxes above another score, or name "
            "another --out"
        )
    return round_


def _require_tables(round_: Round, dataset: Dataset) -> None:
    """Raise ValueError when a complete round has lost a table: whoever reads it sees fewer images."""
    if lost := round_.lost_tables(dataset.shards):
        raise ConfigError(
            f"expected every table of a complete round, got {len(lost):,} missing, the first is {lost[0]}: "
            f"{round_.path}; {DELETE_TABLE}"
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
    labeled.require_same_classes(trained.classes)
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


def _label_shards(
    trained: TrainedDetector,
    dataset: Dataset,
    shards: Sequence[str],
    store: LabelStore,
    settings: PredictSettings,
    provenance: dict[str, Any],
) -> bool:
    """Return whether all of them are done; False when interrupted."""
    left = [shard for shard in shards if not store.has(shard_stem(shard))]
    skipped: list[SkippedImage] = []
    done = len(shards) - len(left)
    with Progress("label", total=len(shards), start=done, unit="shards") as progress, Interrupt() as stop:
        for shard, tables in _tables(trained, dataset, left, settings, skipped):
            store.write(shard_stem(shard), pa.concat_tables(tables), provenance)
            progress.advance()
            if stop.requested:
                return False
        _report(skipped, progress)
    return True


def _tables(
    trained: TrainedDetector,
    dataset: Dataset,
    shards: Sequence[str],
    settings: PredictSettings,
    skipped: list[SkippedImage],
) -> Iterator[tuple[str, list[pa.Table]]]:
    batches = predict(
        trained.detector, dataset, shards, settings=settings, step=trained.step, skipped=skipped
    )
    for shard, pairs in groupby(batches, key=lambda pair: pair[0]):
        yield shard, [table for _, table in pairs]


def _report(skipped: list[SkippedImage], progress: Progress) -> None:
    if skipped:
        progress.say(f"{len(skipped)} images could not be read and have no row:")
        for line in name_skipped(skipped):
            progress.say(line)


def _require_labels(round_: Round, shards: Sequence[str]) -> None:
    """Raise ValueError when one of this process's shards could not be read at all."""
    store = round_.labels()
    unread = [shard for shard in shards if not store.has(shard_stem(shard))]
    if unread:
        raise ConfigError(
            f"expected labels of {len(shards):,} shards, got none of {len(unread):,}, the first is {unread[0]}: "
            f"no image in it can be read; restore it and run the same command again to complete {round_.path}"
        )


def _all_labeled(round_: Round, dataset: Dataset) -> bool:
    store = round_.labels()
    missing = [shard for shard in dataset.shards if not store.has(shard_stem(shard))]
    if missing:
        print(
            f"{round_.path}: {len(missing)} of {len(dataset.shards)} shards have no labels yet, the first is "
            f"{missing[0]}; the round is complete when the other workers are done"
        )
        return False
    return True


def _describe(
    round_: Round,
    dataset: Dataset,
    classes: tuple[str, ...],
    threshold: float,
    provenance: dict[str, Any],
    *,
    seconds: float,
) -> RoundInfo:
    store = round_.labels()
    boxes_per_image = [
        pc.list_value_length(store.read(stem, columns=["scores"])["scores"]) for stem in store.stems()
    ]
    return RoundInfo(
        number=round_.number,
        dataset_name=dataset.name,
        dataset_root=dataset.root,
        dataset_hash=dataset.hash,
        classes=classes,
        score_threshold=threshold,
        num_images=sum(map(len, boxes_per_image)),
        num_boxes=sum(pc.sum(counts).as_py() or 0 for counts in boxes_per_image),
        seconds=seconds,
        provenance=provenance,
    )
