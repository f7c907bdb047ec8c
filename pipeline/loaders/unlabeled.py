"""The unlabeled side of a batch: weak views, strong views, and the student's images mixed from them.

In: a data set whose labels are never opened, and maybe a stored round of pseudo labels. Out: for each step the
teacher's view, the student's view, the mosaic, and the plan that moves labels between them. The pixels of the
last strong views are kept for mixing; a resumed run makes them again from the rows of the steps they came from.
An image that cannot be read or decoded is set aside by name, and the batch is drawn again without it.

While labels come from the round, they are joined here: the student's view and the mosaic carry their targets,
the labels of the kept strong views are kept beside the pixels, and no teacher's view is made. An image whose
stored labels are lost is set aside by name, as one that cannot be read.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pipeline.graphs.graph import GraphDevice, Image
from pipeline.graphs.mixing import Mixer
from pipeline.graphs.views import StrongViews, UnlabeledViews
from pipeline.loaders.batch import LabelCache, UnlabeledPlan, View, size_pairs
from pipeline.loaders.stored_labels import LabelsLostError, StoredLabels
from pipeline.loaders.view_cache import ViewCache
from pipeline.plans import move_boxes as boxes
from pipeline.plans.mix_plans import plan_mix
from pipeline.plans.view_plans import ViewPlan, plan_strong, plan_weak
from pipeline.randomness import Purpose, generator
from pipeline.samples.reader import Samples, UnreadableBatchError, read_samples
from pipeline.samples.safe_graph import SafeGraph
from pipeline.samples.sample_source import SampleSource
from pipeline.samples.stream import OrderSettings, Rows
from pipeline.settings import MixSettings, ViewSettings
from pipeline.timing import Stopwatch
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError
from storage.labels import Labels

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UnlabeledData:
    """The unlabeled images of a run, how they are drawn and mixed, and whose labels they get."""

    dataset: Dataset
    """Only its images are read, never the truth."""
    batch_size: int = 4
    """Unlabeled images a step."""
    mix: MixSettings = field(default_factory=MixSettings)
    """Erase, mixup and mosaic; the paper's by default."""
    repeat_factors: Mapping[str, float] | None = None
    """How often an image is drawn an epoch, by key; 1 where not named."""
    start_step: int = 0
    """Before this step no unlabeled image is drawn (burn-in)."""
    labels: StoredLabels | None = None
    """Of a stored round, in the teacher's place; images without any are not drawn."""
    labels_until: int | None = None
    """The step from which the teacher labels after all; None: never."""
    check_bytes: bool = False
    """Whether each image is held against its sha256 when it is read."""

    def __post_init__(self) -> None:
        """Refuse batches without an image."""
        if self.batch_size < 1:
            raise ConfigError(f"expected batch sizes of at least 1, got {self.batch_size} unlabeled images")

    def stored_at(self, step: int) -> StoredLabels | None:
        """Return where the labels of a step are stored; None where the teacher makes them."""
        return self.labels if self.labels_until is None or step < self.labels_until else None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UnlabeledBatch:
    """What one step sees of its unlabeled images, as `TrainBatch` describes it; by default none are drawn."""

    weak: View | None = None
    student: View | None = None
    mosaic: View | None = None
    plan: UnlabeledPlan | None = None
    thresholds_C: npt.NDArray[np.float64] | None = None
    cached: Labels | None = None


_UnlabeledGraph = SafeGraph[[ViewPlan, ViewPlan], tuple[Tensor | None, list[Image]]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Views:
    weak_plan: ViewPlan
    strong_plan: ViewPlan
    weak_BCHW: Tensor | None
    strong: list[Image]
    """B views, uint8, height x width x RGB."""
    labels: Labels | None
    """Stored labels in pixels of the strong views; None where the teacher labels."""


class UnlabeledSide:
    """Makes the unlabeled views of each step; lives in the background thread."""

    def __init__(
        self,
        source: SampleSource,
        data: UnlabeledData,
        *,
        view: ViewSettings,
        order: OrderSettings,
        device: GraphDevice,
    ) -> None:
        self._source, self._data = source, data
        self._view, self._order, self._device = view, order, device
        mixes = data.mix.mixup or data.mix.mosaic
        capacity = data.mix.capacity(data.batch_size) if mixes else 0
        self._cache = ViewCache(capacity)
        self._label_cache = LabelCache(max(1, capacity))
        """Labels of the cached strong views, while they come from the stored round."""
        self._cached_steps: deque[tuple[int, Rows]] = deque(maxlen=-(-capacity // data.batch_size))
        """Step and rows of the batches whose strong views are cached, oldest first."""
        self._mixer = Mixer(view, batch_size=data.batch_size, device=device)
        self._kind: type[UnlabeledViews | StrongViews] | None = None
        self._graph: _UnlabeledGraph | None = None

    def batch(self, step: int, watch: Stopwatch) -> UnlabeledBatch:
        """Return everything made of the unlabeled images of a step, and keep its strong views."""
        samples, views = self._draw(step, watch)
        stored, plan = self._data.stored_at(step), self._plan(step, samples, views)
        with watch.measure("mix"):
            batch = UnlabeledBatch(
                weak=None
                if views.weak_BCHW is None
                else View.from_plan(plan.weak, views.weak_BCHW, plan.keys),
                student=self._student(plan, views),
                mosaic=self._mosaic(plan, views),
                plan=plan,
                thresholds_C=None if stored is None else stored.thresholds_C,
                cached=self._handed_over(step),
            )
        self._keep(step, samples, views)
        return batch

    def position(self) -> dict[str, Any]:
        """Return where this side stands: the source's position, and the steps whose strong views are cached."""
        refill = [[step, rows.tolist()] for step, rows in self._cached_steps]
        labels = None if self._data.labels is None else self._data.labels.position()
        return self._source.position() | {"refill": refill, "labels": labels}

    def refill(self, position: Mapping[str, Any]) -> None:
        """Make the strong views again that were cached at `position`.

        Where one of their images cannot be read any more, the cache starts empty instead: the next steps are
        not mixed until it is full again, and labels and pixels stay in step.
        """
        for step, rows in position["refill"]:
            try:
                samples = read_samples(self._source.reader, np.array(rows, np.int64))
                views = self._make_views(step, samples)
            except UnreadableBatchError as unreadable:
                LOG.warning(
                    "%s: mixing starts anew, a cached image is gone: %s", self._source.reader.name, unreadable
                )
                self._cache.clear()
                self._label_cache.clear()
                self._cached_steps.clear()
                return
            self._keep(step, samples, views)

    def _draw(self, step: int, watch: Stopwatch) -> tuple[Samples, _Views]:
        """Return the next images that can be used, and their views."""
        while True:
            rows, after = self._source.draw()
            try:
                with watch.measure("read"):
                    samples = read_samples(self._source.reader, rows)
                with watch.measure("views"):
                    views = self._make_views(step, samples)
            except UnreadableBatchError as unreadable:
                self._source.quarantine.add(unreadable)
                continue
            self._source.state = after
            return samples, views

    def _make_views(self, step: int, samples: Samples) -> _Views:
        stored = self._data.stored_at(step)
        originals = None if stored is None else self._read_labels(stored, samples.rows)
        weak_plan = plan_weak(self._generator(step, Purpose.WEAK_VIEW), self._view, samples.sizes_B2)
        strong_plan = plan_strong(self._generator(step, Purpose.STRONG_VIEW), self._view, samples.sizes_B2)
        weak_BCHW, strong = self._graph_at(step).run(samples, weak_plan, strong_plan)
        labels = None
        if originals is not None:
            labels = boxes.project(originals, strong_plan.box_matrices_B33, strong_plan.sizes_B2)
        return _Views(
            weak_plan=weak_plan, strong_plan=strong_plan, weak_BCHW=weak_BCHW, strong=strong, labels=labels
        )

    def _generator(self, step: int, purpose: Purpose) -> np.random.Generator:
        return generator(self._order.seed, step, self._order.rank, purpose)

    def _read_labels(self, stored: StoredLabels, rows: Rows) -> Labels:
        try:
            return stored.labels_of(rows)
        except LabelsLostError as lost:
            unreadable = self._source.reader.unreadable(lost.rows[0], str(lost), lost.rows)
            raise UnreadableBatchError([unreadable]) from lost

    def _graph_at(self, step: int) -> _UnlabeledGraph:
        """Return the graph of a step's views; another one is made where the teacher takes over."""
        kind = UnlabeledViews if self._data.stored_at(step) is None else StrongViews
        if self._graph is None or kind is not self._kind:
            self._kind, self._graph = kind, None  # the old graph's memory goes first
            self._graph = SafeGraph(
                kind,
                self._view,
                self._source.reader,
                batch_size=self._data.batch_size,
                device=self._device,
            )
        return self._graph

    def _plan(self, step: int, samples: Samples, views: _Views) -> UnlabeledPlan:
        mix = plan_mix(
            self._generator(step, Purpose.MIX),
            self._data.mix,
            self._view,
            views.strong_plan.sizes_B2,
            self._cache.sizes(),
        )
        return UnlabeledPlan(
            keys=samples.keys,
            image_ids_B=self._source.reader.image_ids_R[samples.rows],
            weak=views.weak_plan,
            strong=views.strong_plan,
            mix=mix,
        )

    def _student(self, plan: UnlabeledPlan, views: _Views) -> View:
        mixup = plan.mix.mixup
        positions = mixup.partner_positions_B.tolist()
        partner_keys = self._cache.keys(positions)
        keys = [f"{ours}+{theirs}" for ours, theirs in zip(plan.keys, partner_keys, strict=False)]
        return View(
            images_BCHW=self._mixer.mixup(mixup, views.strong, self._cache.take(positions)),
            sizes_B2=size_pairs(mixup.canvas_sizes_B2),
            keys=tuple(keys) or plan.keys,
            targets=None if views.labels is None else plan.student_labels(views.labels, self._label_cache),
        )

    def _mosaic(self, plan: UnlabeledPlan, views: _Views) -> View | None:
        mosaic = plan.mix.mosaic
        if mosaic is None:
            return None
        positions = mosaic.positions_4.tolist()
        return View(
            images_BCHW=self._mixer.mosaic(mosaic, self._cache.take(positions)),
            sizes_B2=[mosaic.canvas_size],
            keys=("+".join(self._cache.keys(positions)),),
            targets=None if views.labels is None else plan.mosaic_labels(self._label_cache),
        )

    def _handed_over(self, step: int) -> Labels | None:
        """Return the labels of the cached views at the step at which the teacher takes over."""
        if self._data.labels is None or step != self._data.labels_until:
            return None
        return self._label_cache.take(range(len(self._cache)))

    def _keep(self, step: int, samples: Samples, views: _Views) -> None:
        if views.labels is not None:
            self._label_cache.push(views.labels)
        self._cache.push(samples.keys, views.strong)
        self._cached_steps.append((step, samples.rows))
