"""The unlabeled side of a batch: weak views, strong views, and the student's images mixed from them.

In: a data set whose labels are never opened, and maybe a stored round of pseudo labels. Out: for each step the
teacher's view, the student's view, the mosaic, and the plan that moves labels between them. The pixels of the
last strong views are kept for mixing; a resumed run makes them again from the rows of the steps they came from.

While labels come from the round, they are joined here: the student's view and the mosaic carry their targets,
the labels of the kept strong views are kept beside the pixels, and no teacher's view is made. An image whose
stored labels are lost is set aside by name, as one that cannot be read.
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

from pipeline.graphs.mixing import Mixer
from pipeline.graphs.views import StrongViews, UnlabeledViews
from pipeline.loaders.batch import LabelCache, UnlabeledPlan, View
from pipeline.loaders.labeled import size_pairs
from pipeline.loaders.ring import ViewCache
from pipeline.loaders.stored_labels import LabelsLostError, StoredLabels
from pipeline.plans import move_boxes as boxes
from pipeline.plans.mix_plans import plan_mix
from pipeline.plans.view_plans import ViewPlan, plan_strong, plan_weak
from pipeline.randomness import Purpose, generator
from pipeline.samples.safe_graph import GraphDevice, SafeGraph, Samples, UnreadableBatchError, read_samples
from pipeline.samples.sample_source import Order, SampleSource
from pipeline.samples.stream import Rows
from pipeline.settings import MixSettings, ViewSettings
from pipeline.timing import Stopwatch
from storage.labels import Labels

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UnlabeledBatch:
    """What one step sees of its unlabeled images."""

    weak: View | None
    """None while labels come from a stored round."""
    student: View
    mosaic: View | None
    plan: UnlabeledPlan
    thresholds_C: npt.NDArray[np.float64] | None
    cached: Labels | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Views:
    weak_plan: ViewPlan
    strong_plan: ViewPlan
    weak_BCHW: Tensor | None
    strong: list[Any]
    """B views, uint8, height x width x RGB."""
    labels: Labels | None
    """Stored labels in pixels of the strong views; None where the teacher labels."""


class UnlabeledSide:
    """Makes the unlabeled views of each step; lives in the background thread."""

    def __init__(
        self,
        source: SampleSource,
        *,
        view: ViewSettings,
        mix: MixSettings,
        order: Order,
        engine: GraphDevice,
        labels: StoredLabels | None = None,
        labels_until: int | None = None,
    ) -> None:
        """`labels` take the teacher's place before the step `labels_until`, or for ever."""
        self._source, self._view, self._mix = source, view, mix
        self._order, self._engine = order, engine
        self._labels, self._labels_until = labels, labels_until
        capacity = mix.capacity(source.batch_size) if mix.mixup or mix.mosaic else 0
        self._ring = ViewCache(capacity)
        self._drawn: deque[tuple[int, Rows]] = deque(maxlen=-(-capacity // source.batch_size))
        """Step and rows of the batches whose strong views are in the ring, oldest first."""
        self._cache = LabelCache(max(1, capacity))
        """Labels of the strong views in the ring, while they come from the stored round."""
        self._mixer = Mixer(
            view,
            batch_size=source.batch_size,
            num_threads=engine.num_threads,
            device=engine.device,
            device_id=engine.device_id,
        )
        self._makes_weak = labels is None
        self._graph = self._make_graph()

    def batch(self, step: int, watch: Stopwatch) -> UnlabeledBatch:
        """Return everything made of the unlabeled images of a step, and remember its strong views."""
        graph, stored = self._graph_at(step), self._stored(step)
        samples, views = self._source.draw(graph, lambda *given: self._make_views(step, *given), watch)
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
                weak=_weak(views, samples.keys),
                student=self._student(plan, views),
                mosaic=self._mosaic(plan, views),
                plan=plan,
                thresholds_C=None if stored is None else stored.thresholds_C,
                cached=self._handed_over(step),
            )
        self._remember(step, samples.rows, views)
        return batch

    def position(self) -> dict[str, Any]:
        """Return where this side stands: the source's position, and the steps that fill the ring."""
        refill = [[step, rows.tolist()] for step, rows in self._drawn]
        labels = None if self._labels is None else self._labels.position()
        return self._source.position() | {"refill": refill, "labels": labels}

    def refill(self, position: Mapping[str, Any]) -> None:
        """Make the strong views again that the ring held at `position`.

        Where one of their images cannot be read any more, the ring starts empty instead: the next steps are
        not mixed until it is full again, and labels and pixels stay in step.
        """
        for step, rows in position["refill"]:
            try:
                samples = read_samples(self._source.reader, np.array(rows, np.int64))
                graph = self._graph_at(step)
                views = graph.run(samples, lambda *given, at=step: self._make_views(at, *given))
            except UnreadableBatchError as unreadable:
                LOG.warning(
                    "%s: mixing starts anew, a cached image is gone: %s", self._source.reader.name, unreadable
                )
                self._ring.clear()
                self._cache.clear()
                self._drawn.clear()
                return
            self._remember(step, samples.rows, views)

    def _graph_at(self, step: int) -> SafeGraph[UnlabeledViews | StrongViews]:
        """Return the graph that makes the views of a step; another one where the teacher takes over."""
        makes_weak = self._stored(step) is None
        if makes_weak != self._makes_weak:
            self._makes_weak = makes_weak
            self._graph = self._make_graph()
        return self._graph

    def _make_graph(self) -> SafeGraph[UnlabeledViews | StrongViews]:
        kind = UnlabeledViews if self._makes_weak else StrongViews

        def make() -> UnlabeledViews | StrongViews:
            return kind(
                self._view,
                batch_size=self._source.batch_size,
                num_threads=self._engine.num_threads,
                device=self._engine.device,
                device_id=self._engine.device_id,
            )

        return SafeGraph(make, self._source.reader, self._engine)

    def _stored(self, step: int) -> StoredLabels | None:
        """Return where the labels of a step are stored; None where the teacher makes them."""
        return self._labels if self._labels_until is None or step < self._labels_until else None

    def _handed_over(self, step: int) -> Labels | None:
        """Return the labels of the ring at the step at which the teacher takes over."""
        if self._labels is None or step != self._labels_until:
            return None
        return self._cache.take(range(len(self._ring)))

    def _remember(self, step: int, rows: Rows, views: _Views) -> None:
        if views.labels is not None:
            self._cache.push(views.labels)
        self._ring.push(views.strong)
        self._drawn.append((step, rows))

    def _make_views(self, step: int, graph: UnlabeledViews | StrongViews, samples: Samples) -> _Views:
        stored = self._stored(step)
        originals = None if stored is None else self._read_labels(stored, samples.rows)
        weak_rng = generator(self._order.seed, step, self._order.rank, Purpose.WEAK_VIEW)
        strong_rng = generator(self._order.seed, step, self._order.rank, Purpose.STRONG_VIEW)
        weak_plan = plan_weak(weak_rng, self._view, samples.sizes_B2)
        strong_plan = plan_strong(strong_rng, self._view, samples.sizes_B2)
        weak_BCHW = None
        if isinstance(graph, UnlabeledViews):
            weak_BCHW, strong = graph.run(samples.encoded, weak_plan, strong_plan)
        else:
            strong = graph.run(samples.encoded, strong_plan)
        labels = None
        if originals is not None:
            labels = boxes.project(originals, strong_plan.box_matrices_B33, strong_plan.sizes_B2)
        return _Views(
            weak_plan=weak_plan, strong_plan=strong_plan, weak_BCHW=weak_BCHW, strong=strong, labels=labels
        )

    def _read_labels(self, stored: StoredLabels, rows: Rows) -> Labels:
        try:
            return stored.of(rows)
        except LabelsLostError as lost:
            unreadable = self._source.reader.unreadable(lost.rows[0], str(lost), lost.rows)
            raise UnreadableBatchError([unreadable]) from lost

    def _student(self, plan: UnlabeledPlan, views: _Views) -> View:
        mixup = plan.mix.mixup
        partners = self._ring.take(mixup.partner_positions_B.tolist())
        partner_keys = self._ring_keys(mixup.partner_positions_B)
        keys = [f"{ours}+{theirs}" for ours, theirs in zip(plan.keys, partner_keys, strict=False)]
        return View(
            images_BCHW=self._mixer.mixup(mixup, views.strong, partners),
            sizes_B2=size_pairs(mixup.canvas_sizes_B2),
            keys=tuple(keys) or plan.keys,
            targets=None if views.labels is None else plan.student_labels(views.labels, self._cache),
        )

    def _mosaic(self, plan: UnlabeledPlan, views: _Views) -> View | None:
        mosaic = plan.mix.mosaic
        if mosaic is None:
            return None
        tiles = self._ring.take(mosaic.positions_4.tolist())
        return View(
            images_BCHW=self._mixer.mosaic(mosaic, tiles),
            sizes_B2=[mosaic.canvas_size],
            keys=("+".join(self._ring_keys(mosaic.positions_4)),),
            targets=None if views.labels is None else plan.mosaic_labels(self._cache),
        )

    def _ring_keys(self, positions: npt.NDArray[np.int64]) -> list[str]:
        """Return which images the views at these positions of the ring are."""
        rows = np.concatenate([np.zeros(0, np.int64), *(rows for _, rows in self._drawn)])[-len(self._ring) :]
        return [self._source.reader.keys[row] for row in rows[positions]]


def _weak(views: _Views, keys: tuple[str, ...]) -> View | None:
    if views.weak_BCHW is None:
        return None
    return View(images_BCHW=views.weak_BCHW, sizes_B2=size_pairs(views.weak_plan.sizes_B2), keys=keys)
