"""The unlabeled side of a batch: weak views, strong views, and the student's images mixed from them.

In: a data set whose labels are never opened. Out: for each step the teacher's view, the student's view, the
mosaic, and the plan that moves labels between them. The pixels of the last strong views are kept for
mixing; a resumed run makes them again from the rows of the steps they came from.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pipeline.batch import UnlabeledPlan, View
from pipeline.decoding import Engine, SafeGraph, Samples, UnreadableBatchError, read_samples
from pipeline.labeled import size_pairs
from pipeline.mix_plans import plan_mix
from pipeline.mixing import Mixer
from pipeline.randomness import Purpose, generator
from pipeline.ring import StrongRing
from pipeline.settings import MixSettings, ViewSettings
from pipeline.source import Order, SampleSource
from pipeline.stream import Rows
from pipeline.timing import Stopwatch
from pipeline.view_plans import ViewPlan, plan_strong, plan_weak
from pipeline.views import UnlabeledViews

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UnlabeledBatch:
    """What one step sees of its unlabeled images."""

    weak: View
    student: View
    mosaic: View | None
    plan: UnlabeledPlan


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Views:
    weak_plan: ViewPlan
    strong_plan: ViewPlan
    weak_BCHW: Tensor
    strong: list[Any]
    """B views, uint8, height x width x RGB."""


class UnlabeledSide:
    """Makes the unlabeled views of each step; lives in the background thread."""

    def __init__(
        self,
        source: SampleSource,
        *,
        view: ViewSettings,
        mix: MixSettings,
        order: Order,
        engine: Engine,
    ) -> None:
        self._source, self._view, self._mix = source, view, mix
        self._order = order
        capacity = mix.capacity(source.batch_size) if mix.mixup or mix.mosaic else 0
        self._ring = StrongRing(capacity)
        self._drawn: deque[tuple[int, Rows]] = deque(maxlen=-(-capacity // source.batch_size))
        """Step and rows of the batches whose strong views are in the ring, oldest first."""
        self._mixer = Mixer(
            view,
            batch_size=source.batch_size,
            num_threads=engine.num_threads,
            device=engine.device,
            device_id=engine.device_id,
        )

        def make() -> UnlabeledViews:
            return UnlabeledViews(
                view,
                batch_size=source.batch_size,
                num_threads=engine.num_threads,
                device=engine.device,
                device_id=engine.device_id,
            )

        self._graph = SafeGraph(make, source.reader, engine)

    def batch(self, step: int, watch: Stopwatch) -> UnlabeledBatch:
        """Return everything made of the unlabeled images of a step, and remember its strong views."""
        samples, views = self._source.draw(self._graph, lambda *given: self._make_views(step, *given), watch)
        rng = generator(self._order.seed, step, self._order.rank, Purpose.MIX)
        mix = plan_mix(
            rng,
            self._mix,
            views.strong_plan.sizes_B2,
            self._ring.sizes(),
            pad_multiple=self._view.pad_multiple,
            interpolation=self._view.interpolation,
        )
        plan = UnlabeledPlan(
            keys=samples.keys,
            image_ids_B=self._source.reader.image_ids_R[samples.rows],
            weak=views.weak_plan,
            strong=views.strong_plan,
            mix=mix,
            drop_ratio=self._mix.drop_ratio,
        )
        with watch.measure("mix"):
            batch = UnlabeledBatch(
                weak=View(
                    images_BCHW=views.weak_BCHW,
                    sizes_B2=size_pairs(views.weak_plan.sizes_B2),
                    keys=samples.keys,
                ),
                student=self._student(plan, views.strong),
                mosaic=self._mosaic(plan),
                plan=plan,
            )
        self._ring.push(views.strong)
        self._drawn.append((step, samples.rows))
        return batch

    def position(self) -> dict[str, Any]:
        """Return where this side stands: the source's position, and the steps that fill the ring."""
        refill = [[step, rows.tolist()] for step, rows in self._drawn]
        return self._source.position() | {"refill": refill}

    def refill(self, position: Mapping[str, Any]) -> None:
        """Make the strong views again that the ring held at `position`.

        Where one of their images cannot be read any more, the ring starts empty instead: the next steps are
        not mixed until it is full again, and labels and pixels stay in step.
        """
        for step, rows in position["refill"]:
            try:
                samples = read_samples(self._source.reader, np.array(rows, np.int64))
                views = self._graph.run(samples, lambda *given, at=step: self._make_views(at, *given))
            except UnreadableBatchError as unreadable:
                LOG.warning(
                    "%s: mixing starts anew, a cached image is gone: %s", self._source.reader.name, unreadable
                )
                self._ring.clear()
                self._drawn.clear()
                return
            self._ring.push(views.strong)
            self._drawn.append((step, samples.rows))

    def _make_views(self, step: int, graph: UnlabeledViews, samples: Samples) -> _Views:
        weak_rng = generator(self._order.seed, step, self._order.rank, Purpose.WEAK_VIEW)
        strong_rng = generator(self._order.seed, step, self._order.rank, Purpose.STRONG_VIEW)
        weak_plan = plan_weak(weak_rng, self._view, samples.sizes_B2)
        strong_plan = plan_strong(strong_rng, self._view, samples.sizes_B2)
        weak_BCHW, strong = graph.run(samples.encoded, weak_plan, strong_plan)
        return _Views(weak_plan=weak_plan, strong_plan=strong_plan, weak_BCHW=weak_BCHW, strong=strong)

    def _student(self, plan: UnlabeledPlan, strong: list[Any]) -> View:
        mixup = plan.mix.mixup
        partners = self._ring.take(mixup.partner_positions_B.tolist())
        partner_keys = self._ring_keys(mixup.partner_positions_B)
        keys = [f"{ours}+{theirs}" for ours, theirs in zip(plan.keys, partner_keys, strict=False)]
        return View(
            images_BCHW=self._mixer.mixup(mixup, strong, partners),
            sizes_B2=size_pairs(mixup.canvas_sizes_B2),
            keys=tuple(keys) or plan.keys,
        )

    def _mosaic(self, plan: UnlabeledPlan) -> View | None:
        mosaic = plan.mix.mosaic
        if mosaic is None:
            return None
        tiles = self._ring.take(mosaic.positions_4.tolist())
        return View(
            images_BCHW=self._mixer.mosaic(mosaic, tiles),
            sizes_B2=[mosaic.canvas_size],
            keys=("+".join(self._ring_keys(mosaic.positions_4)),),
        )

    def _ring_keys(self, positions: npt.NDArray[np.int64]) -> list[str]:
        """Return which images the views at these positions of the ring are."""
        rows = np.concatenate([np.zeros(0, np.int64), *(rows for _, rows in self._drawn)])[-len(self._ring) :]
        return [self._source.reader.keys[row] for row in rows[positions]]
