"""Where both sides become batches: what the loader's background thread does.

In: sources, settings, and where to begin. Out: one `TrainBatch` a step, each with the position after it. Everything
that holds a DALI graph or an open shard is made, used and closed here, in the one thread that runs the generator.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.loaders.batch import TrainBatch
from pipeline.loaders.labeled import LabeledSide, LabeledTruth
from pipeline.loaders.stored_labels import StoredLabels
from pipeline.loaders.unlabeled import UnlabeledSide
from pipeline.samples.safe_graph import GraphDevice
from pipeline.samples.sample_source import Order, SampleSource
from pipeline.settings import MixSettings, ViewSettings
from pipeline.timing import Stopwatch

Part = Literal["labeled", "unlabeled"]
RESUME_VERSION = 2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Work:
    """What the background thread needs; does not refer to the loader."""

    sources: Mapping[Part, SampleSource]
    truth: LabeledTruth | None
    view: ViewSettings
    mix: MixSettings
    order: Order
    engine: GraphDevice
    num_steps: int | None
    unlabeled_start_step: int
    labels: StoredLabels | None
    labels_until: int | None
    start_step: int
    resume: Mapping[str, Any] | None


def batches(work: Work) -> Generator[TrainBatch]:
    """Make the sides, fill the ring of a resumed run, and yield one batch a step."""
    watch = Stopwatch("read", "views", "mix", "blocked")
    step = work.start_step
    try:
        labeled, unlabeled = _sides(work)
        if work.resume is not None:
            step = work.resume["step"]
            if unlabeled is not None:
                unlabeled.refill(work.resume["unlabeled"])
        while work.num_steps is None or step < work.num_steps:
            batch = _batch(work, labeled, unlabeled, step, watch)
            with watch.measure("blocked"):
                yield batch
            step += 1
    finally:
        for source in work.sources.values():
            source.close()


def _sides(work: Work) -> tuple[LabeledSide | None, UnlabeledSide | None]:
    labeled = unlabeled = None
    if work.truth is not None:
        labeled = LabeledSide(
            work.sources["labeled"], work.truth, settings=work.view, order=work.order, engine=work.engine
        )
    if "unlabeled" in work.sources:
        unlabeled = UnlabeledSide(
            work.sources["unlabeled"],
            view=work.view,
            mix=work.mix,
            order=work.order,
            engine=work.engine,
            labels=work.labels,
            labels_until=work.labels_until,
        )
    return labeled, unlabeled


def _batch(
    work: Work, labeled: LabeledSide | None, unlabeled: UnlabeledSide | None, step: int, watch: Stopwatch
) -> TrainBatch:
    supervised = None if labeled is None else labeled.batch(step, watch)
    begun = unlabeled is not None and step >= work.unlabeled_start_step
    mixed = unlabeled.batch(step, watch) if unlabeled is not None and begun else None
    return TrainBatch(
        step=step,
        labeled=supervised,
        weak=None if mixed is None else mixed.weak,
        student=None if mixed is None else mixed.student,
        mosaic=None if mixed is None else mixed.mosaic,
        plan=None if mixed is None else mixed.plan,
        thresholds_C=None if mixed is None else mixed.thresholds_C,
        cached=None if mixed is None else mixed.cached,
        resume={
            "version": RESUME_VERSION,
            "seed": work.order.seed,
            "rank": work.order.rank,
            "world": work.order.world,
            "step": step + 1,
            "labeled": None if labeled is None else work.sources["labeled"].position(),
            "unlabeled": None if unlabeled is None else unlabeled.position(),
        },
        timings=watch.read(),
        skipped={part: len(source.quarantine) for part, source in work.sources.items()},
    )
