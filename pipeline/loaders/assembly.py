"""Where both sides become batches: what the loader's background thread does.

In: sources, settings, and where to begin. Out: one `TrainBatch` a step, each with the position after it. Everything
that holds a DALI graph or an open shard is made, used and closed here, in the one thread that runs the generator.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.graphs.graph import GraphDevice
from pipeline.loaders.batch import TrainBatch
from pipeline.loaders.labeled import LabeledSide, LabeledTruth
from pipeline.loaders.unlabeled import UnlabeledBatch, UnlabeledData, UnlabeledSide
from pipeline.samples.sample_source import SampleSource
from pipeline.samples.stream import OrderSettings
from pipeline.settings import ViewSettings
from pipeline.timing import Stopwatch

Part = Literal["labeled", "unlabeled"]
RESUME_VERSION = 2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoaderSpec:
    """What the background thread needs; does not refer to the loader."""

    sources: Mapping[Part, SampleSource]
    truth: LabeledTruth | None
    """None: no labeled views."""
    unlabeled: UnlabeledData | None
    view: ViewSettings
    order: OrderSettings
    device: GraphDevice
    start_step: int
    num_steps: int | None
    resume: Mapping[str, Any] | None


def make_batches(spec: LoaderSpec) -> Generator[TrainBatch]:
    """Make the sides, fill the view cache of a resumed run, and yield one batch a step."""
    watch = Stopwatch("read", "views", "mix", "blocked")
    step = spec.start_step
    try:
        labeled, unlabeled = _labeled_side(spec), _unlabeled_side(spec)
        if spec.resume is not None:
            step = spec.resume["step"]
            if unlabeled is not None:
                unlabeled.refill(spec.resume["unlabeled"])
        while spec.num_steps is None or step < spec.num_steps:
            batch = _batch(spec, labeled, unlabeled, step, watch)
            with watch.measure("blocked"):
                yield batch
            step += 1
    finally:
        for source in spec.sources.values():
            source.close()


def _labeled_side(spec: LoaderSpec) -> LabeledSide | None:
    if spec.truth is None:
        return None
    return LabeledSide(
        spec.sources["labeled"], spec.truth, view=spec.view, order=spec.order, device=spec.device
    )


def _unlabeled_side(spec: LoaderSpec) -> UnlabeledSide | None:
    if spec.unlabeled is None:
        return None
    return UnlabeledSide(
        spec.sources["unlabeled"], spec.unlabeled, view=spec.view, order=spec.order, device=spec.device
    )


def _batch(
    spec: LoaderSpec,
    labeled: LabeledSide | None,
    unlabeled: UnlabeledSide | None,
    step: int,
    watch: Stopwatch,
) -> TrainBatch:
    supervised = None if labeled is None else labeled.batch(step, watch)
    mixed = UnlabeledBatch()
    if unlabeled is not None and spec.unlabeled is not None and step >= spec.unlabeled.start_step:
        mixed = unlabeled.batch(step, watch)
    return TrainBatch(
        step=step,
        labeled=supervised,
        weak=mixed.weak,
        student=mixed.student,
        mosaic=mixed.mosaic,
        plan=mixed.plan,
        thresholds_C=mixed.thresholds_C,
        cached=mixed.cached,
        resume={
            "version": RESUME_VERSION,
            "seed": spec.order.seed,
            "rank": spec.order.rank,
            "world": spec.order.world,
            "step": step + 1,
            "labeled": None if labeled is None else spec.sources["labeled"].position(),
            "unlabeled": None if unlabeled is None else unlabeled.position(),
        },
        timings=watch.read(),
        num_unreadable={part: len(source.quarantine) for part, source in spec.sources.items()},
    )
