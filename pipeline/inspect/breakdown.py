"""What each part of the pipeline costs, on the batches that a loader made.

In: of each batch its step, its images and its plan. Out: seconds by part. The graphs are those that train. One
graph makes both views of an image and cannot be opened while it runs, so it is run again with less to do: a view
that is not asked for is planned at 1 x 1 px, and what the other one adds is its cost. With all views at 1 x 1 px
what is left is the decoder. On CUDA every run is waited for.

Each part is measured alone and in turn, twice, and the faster run counts, as other work on the machine can only add
to it. The parts of a step add up to what its batch costs, but for that other work and the numbers that it draws.

Shapes: B images of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch

from pipeline.graphs.graph import GraphDevice, Image
from pipeline.graphs.mixing import Mixer
from pipeline.graphs.views import LabeledViews, UnlabeledViews
from pipeline.loaders.batch import LabelCache, TrainBatch, UnlabeledPlan
from pipeline.loaders.labeled import LabeledData
from pipeline.loaders.unlabeled import UnlabeledData
from pipeline.loaders.view_cache import ViewCache
from pipeline.plans.geometry import Sizes, resize_matrices
from pipeline.plans.view_plans import ViewPlan, plan_labeled
from pipeline.randomness import Purpose, generator
from pipeline.samples.reader import SampleReader, Samples, read_samples
from pipeline.samples.stream import OrderSettings
from pipeline.settings import COLOUR_OPS, ColourOp, ViewSettings
from pipeline.timing import timed
from storage.dataset.dataset import Dataset
from storage.labels import Labels

T = TypeVar("T")
BOXES_AN_IMAGE = 30
"""The boxes' cost is measured with so many on each image; labels do not exist yet when pixels are made."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BatchRecipe:
    """What a batch was made of, without its pixels."""

    step: int
    labeled_keys: tuple[str, ...]
    plan: UnlabeledPlan | None

    @classmethod
    def from_batch(cls, batch: TrainBatch) -> BatchRecipe:
        """Return what a batch of a loader was made of."""
        keys = () if batch.labeled is None else batch.labeled.keys
        return cls(step=batch.step, labeled_keys=keys, plan=batch.plan)


class Breakdown:
    """The parts of the pipeline one by one; give it every batch since the first, for the cache of strong views."""

    def __init__(
        self,
        labeled: LabeledData | None,
        unlabeled: UnlabeledData | None,
        *,
        view: ViewSettings,
        order: OrderSettings,
        device: GraphDevice,
    ) -> None:
        """The arguments are those of the loader that made the batches."""
        self._view, self._order = view, order
        self._device = torch.device("cpu" if device.kind == "cpu" else f"cuda:{device.index}")
        if labeled is not None:
            self._read_labeled = _reader_by_key(labeled.dataset)
            self._labeled_views = LabeledViews(view, batch_size=labeled.batch_size, device=device)
        if unlabeled is not None:
            capacity = unlabeled.mix.capacity(unlabeled.batch_size)
            self._cache, self._label_cache = ViewCache(capacity), LabelCache(capacity)
            self._read_unlabeled = _reader_by_key(unlabeled.dataset)
            self._unlabeled_views = UnlabeledViews(view, batch_size=unlabeled.batch_size, device=device)
            self._mixer = Mixer(view, batch_size=unlabeled.batch_size, device=device)

    def parts(self, recipe: BatchRecipe) -> dict[str, float]:
        """Return the seconds of each part of one batch; reading is not among them, it is fast the second time."""
        seconds = dict.fromkeys(("decode", "weak view", "strong view", "labeled view"), 0.0)
        if recipe.labeled_keys:
            decode, view = self._labeled_parts(recipe)
            seconds["decode"] += decode
            seconds["labeled view"] = view
        if recipe.plan is None:
            return seconds
        samples = self._read_unlabeled(recipe.plan.keys)
        decode, weak, strong, views = self._unlabeled_parts(samples, recipe.plan)
        seconds |= {"decode": seconds["decode"] + decode, "weak view": weak, "strong view": strong}
        seconds |= self._mixed(recipe.plan, views)
        self._cache.push(recipe.plan.keys, views)
        return seconds | {"boxes": self._boxes(recipe.plan, recipe.step)}

    def kernels(self, recipe: BatchRecipe) -> dict[str, float]:
        """Return the seconds of each kernel on the unlabeled images of a batch, every colour operation on all.

        Colour operations act on the strong views at their planned sizes.
        """
        assert recipe.plan is not None, "the kernels are those of unlabeled images"
        samples = self._read_unlabeled(recipe.plan.keys)
        weak, strong = recipe.plan.weak, recipe.plan.strong

        def seconds(weak_plan: ViewPlan, strong_plan: ViewPlan) -> float:
            return self._run(samples, weak_plan, strong_plan)[1]

        nothing = _nothing(weak)
        decode = seconds(nothing, nothing)
        weak_warp = seconds(nothing, weak) - decode  # a strong view is left as bytes
        strong_warp = seconds(nothing, _coloured(strong, "identity", 1.0))
        return {
            "decode": decode,
            "weak warp": weak_warp,
            "weak normalise": seconds(weak, nothing) - decode - weak_warp,
            "strong warp": strong_warp - decode,
        } | {
            name: seconds(nothing, _coloured(strong, name, value)) - strong_warp
            for name, value in _COLOUR_VALUES.items()
        }

    def _labeled_parts(self, recipe: BatchRecipe) -> tuple[float, float]:
        samples = self._read_labeled(recipe.labeled_keys)
        rng = generator(self._order.seed, recipe.step, self._order.rank, Purpose.LABELED_VIEW)
        plan = plan_labeled(rng, self._view, samples.sizes_B2)

        def seconds(plan: ViewPlan) -> float:
            return _best_of_two(lambda: self._labeled_views.run(samples.encoded, plan), self._device)[1]

        decode = seconds(_nothing(plan))
        return decode, seconds(plan) - decode

    def _unlabeled_parts(
        self, samples: Samples, plan: UnlabeledPlan
    ) -> tuple[float, float, float, list[Image]]:
        """Return the seconds of decoder, weak and strong view, and the strong views."""
        nothing = _nothing(plan.weak)
        _, decode = self._run(samples, nothing, nothing)
        _, weak = self._run(samples, plan.weak, nothing)
        views, strong = self._run(samples, nothing, plan.strong)
        return decode, weak - decode, strong - decode, views

    def _run(self, samples: Samples, weak: ViewPlan, strong: ViewPlan) -> tuple[list[Image], float]:
        (_, views), seconds = _best_of_two(
            lambda: self._unlabeled_views.run(samples.encoded, weak, strong), self._device
        )
        return views, seconds

    def _mixed(self, plan: UnlabeledPlan, views: Sequence[Image]) -> dict[str, float]:
        mixup, mosaic = plan.mix.mixup, plan.mix.mosaic
        partners = self._cache.take(mixup.partner_positions_B.tolist())
        seconds = {"mixup": _best_of_two(lambda: self._mixer.mixup(mixup, views, partners), self._device)[1]}
        if mosaic is None:
            return seconds | {"mosaic": 0.0}
        tiles = self._cache.take(mosaic.positions_4.tolist())
        return seconds | {"mosaic": _best_of_two(lambda: self._mixer.mosaic(mosaic, tiles), self._device)[1]}

    def _boxes(self, plan: UnlabeledPlan, step: int) -> float:
        """Return the seconds that the training step spends on boxes, with drawn boxes for the teacher's."""
        weak_labels = _drawn_labels(np.random.default_rng([self._order.seed, step]), plan.weak.sizes_B2)

        def move() -> None:
            strong = plan.strong_labels(weak_labels)
            plan.student_labels(strong, self._label_cache)
            if plan.mix.mosaic is not None:
                plan.mosaic_labels(self._label_cache)
            self._label_cache.push(strong)

        return timed(move, torch.device("cpu"))[1]  # moves the cache on, so once


def _best_of_two(work: Callable[[], T], device: torch.device) -> tuple[T, float]:
    _, first = timed(work, device)
    result, second = timed(work, device)
    return result, min(first, second)


def _reader_by_key(dataset: Dataset) -> Callable[[Sequence[str]], Samples]:
    """Return a function that reads the samples of these keys."""
    reader = SampleReader(dataset)
    return lambda keys: read_samples(reader, dataset.rows_of(keys))


_COLOUR_VALUES: dict[ColourOp, float] = {
    name: {"posterize": 2.0, "solarize": 128.0}.get(name, 0.5) for name in COLOUR_OPS if name != "identity"
}
"""A value of each operation that leaves it its work."""


def _nothing(plan: ViewPlan) -> ViewPlan:
    """Return views of the same images that cost nothing: one pixel, colours untouched."""
    sizes_B2 = np.ones_like(plan.sizes_B2)
    flips_B = np.zeros(len(plan), bool)
    return replace(
        _coloured(plan, "identity", 1.0),
        sizes_B2=sizes_B2,
        matrices_B33=resize_matrices(plan.source_sizes_B2, sizes_B2, flips_B),
        flips_B=flips_B,
        pad_multiple=1,
    )


def _coloured(plan: ViewPlan, name: ColourOp, value: float) -> ViewPlan:
    """Return the same views with one colour operation for all, after the warp."""
    return replace(
        plan,
        colour_ops_B=np.full(len(plan), COLOUR_OPS.index(name)),
        colour_values_B=np.full(len(plan), value),
        colour_first_B=np.zeros(len(plan), bool),
    )


def _drawn_labels(rng: np.random.Generator, sizes_B2: Sizes) -> Labels:
    images = []
    for size_2 in sizes_B2:
        corners_N2 = rng.uniform(0, 0.8, (BOXES_AN_IMAGE, 2))
        boxes_N4 = np.concatenate([corners_N2, corners_N2 + 0.15], axis=1) * np.tile(size_2[::-1], 2)
        images.append(Labels.of_image(boxes_N4, np.zeros(BOXES_AN_IMAGE, int), np.ones(BOXES_AN_IMAGE)))
    return Labels.concatenate(images)
