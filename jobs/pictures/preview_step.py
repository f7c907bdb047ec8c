"""One step of a training run, made for a person to look at: every view of it, with boxes and geometry.

In: the run's configuration and data, and the number of the step. Out: `PreviewStep`. The loader is the run's own,
so the plans and pixels are those of the real step, as long as no image of the steps before had to be set aside and
the repeat factors were not asked for again. It starts only so many steps earlier as fill the cache of strong views,
with their boxes: the truth where it is known, hidden or not, those of a trained teacher, or of a stored round.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from jobs.pictures.view_pictures import known_truth
from jobs.recipes.train_config import TrainConfig
from jobs.training.run_data import RunInputs, mix_settings, open_loader, read_run_inputs
from pipeline.loaders.batch import LabelCache, TrainBatch, UnlabeledPlan, View
from pipeline.loaders.stored_labels import StoredLabels
from pipeline.loaders.train_loader import TrainLoader
from pipeline.plans import move_boxes as boxes
from pipeline.plans.mix_plans import Layer
from pipeline.settings import MixSettings
from storage.dataset.dataset import Dataset
from storage.labels import Labels

WeakLabels = Callable[[TrainBatch], Labels | None]
"""The boxes of a batch's weak views, made or not, in their pixels; None where none are known."""
Quads = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StrongSources:
    """Strong views by where they come from: what a layer of a mix is made of."""

    keys: tuple[str, ...]
    matrices_B33: npt.NDArray[np.float64]
    """Original pixels to pixels of the strong view."""
    source_sizes_B2: npt.NDArray[np.int64]

    def take(self, positions: npt.NDArray[np.int64]) -> StrongSources:
        """Return those at these positions, in the order asked for."""
        return StrongSources(
            keys=tuple(self.keys[position] for position in positions),
            matrices_B33=self.matrices_B33[positions],
            source_sizes_B2=self.source_sizes_B2[positions],
        )

    def quads(self, layer: Layer) -> Quads:
        """Return where a layer puts the corners of each original image on its canvas, (B, 4, 2) as x, y."""
        height_B, width_B = self.source_sizes_B2.T.astype(np.float64)
        none_B = np.zeros_like(width_B)
        x_B4 = np.stack([none_B, width_B, width_B, none_B], axis=1)
        y_B4 = np.stack([none_B, none_B, height_B, height_B], axis=1)
        corners_B34 = np.stack([x_B4, y_B4, np.ones_like(x_B4)], axis=1)
        return np.swapaxes((layer.matrices_N33 @ self.matrices_B33 @ corners_B34)[:, :2], 1, 2)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreviewStep:
    """All there is to see of one step. Labels are None where no boxes are known."""

    batch: TrainBatch
    strong: View | None
    """The strong views by themselves, neither erased nor mixed."""
    current: StrongSources | None
    cached: StrongSources | None
    """Oldest first, at the positions that the plan speaks of; None while there are none."""
    weak_labels: Labels | None
    strong_labels: Labels | None
    student_labels: Labels | None
    mosaic_labels: Labels | None


def steps_to_fill(config: TrainConfig) -> int:
    """Return how many steps fill the cache of a run."""
    mix = mix_settings(config)
    if not (mix.mixup or mix.mosaic):
        return 0
    return -(-mix.capacity(config.data.batch_unlabeled) // config.data.batch_unlabeled)


def preview_step(
    config: TrainConfig, data: Mapping[str, Dataset], step: int, weak_labels: WeakLabels
) -> PreviewStep:
    """Make the batch of one step with everything that was cached before it."""
    back = steps_to_fill(config) if "unlabeled" in data and step >= config.burn_in else 0
    first = max(step - back, config.burn_in if back else 0)
    cache = LabelCache(config.mix.capacity(config.data.batch_unlabeled))
    cached: deque[StrongSources] = deque()
    asked = read_run_inputs(config, data)
    with _loader(config, data, asked, first, step + 1) as batches:
        for batch in batches:
            known = weak_labels(batch) if batch.plan is not None else None
            if batch.step == step:
                strong = None if batch.plan is None else _strong(config, data["unlabeled"], asked, step)
                return _seen(batch, strong, known, cache, _joined(cached, cache.capacity))
            if batch.plan is not None:
                cached.append(_of_plan(batch.plan))
                cache.push(
                    Labels.empty(len(batch.plan.keys)) if known is None else batch.plan.strong_labels(known)
                )
    raise AssertionError("the loader makes every step that it is asked for")


def truth_on_weak(unlabeled: Dataset) -> WeakLabels:
    """Return what gives a batch its truth, where it is known."""

    def project(batch: TrainBatch) -> Labels | None:
        assert batch.plan is not None
        truth, plan = known_truth(unlabeled, batch.plan.keys), batch.plan.weak
        return None if truth is None else boxes.project(truth, plan.box_matrices_B33, plan.sizes_B2)

    return project


def round_on_weak(stored: StoredLabels, unlabeled: Dataset, *, otherwise: WeakLabels) -> WeakLabels:
    """Return what gives a batch its labels of a stored round that count; `otherwise` where the teacher labels."""

    def project(batch: TrainBatch) -> Labels | None:
        if batch.weak is not None:
            return otherwise(batch)
        assert batch.plan is not None
        labels = stored.labels_of(unlabeled.rows_of(batch.plan.keys))
        counted = labels.above(stored.thresholds_C)
        return boxes.project(counted, batch.plan.weak.box_matrices_B33, batch.plan.weak.sizes_B2)

    return project


def _seen(
    batch: TrainBatch,
    strong: View | None,
    weak_labels: Labels | None,
    cache: LabelCache,
    cached: StrongSources | None,
) -> PreviewStep:
    plan = batch.plan
    strong_labels = student_labels = mosaic_labels = None
    if plan is not None and weak_labels is not None:
        strong_labels = plan.strong_labels(weak_labels)
        student_labels = plan.student_labels(strong_labels, cache)
        mosaic_labels = plan.mosaic_labels(cache) if plan.mix.mosaic is not None else None
    return PreviewStep(
        batch=batch,
        strong=strong,
        current=None if plan is None else _of_plan(plan),
        cached=cached,
        weak_labels=weak_labels,
        strong_labels=strong_labels,
        student_labels=student_labels,
        mosaic_labels=mosaic_labels,
    )


def _loader(
    config: TrainConfig, data: Mapping[str, Dataset], asked: RunInputs, first: int, end: int
) -> TrainLoader:
    device = torch.device("cpu")
    return open_loader(dataclasses.replace(config, steps=end), data, asked, device, start_step=first)


def _strong(config: TrainConfig, unlabeled: Dataset, asked: RunInputs, step: int) -> View | None:
    """Return the strong views of a step: its student views, were nothing mixed and nothing erased."""
    still = dataclasses.replace(config, mix=MixSettings(mixup=False, mosaic=False, erase=False))
    with _loader(still, {"unlabeled": unlabeled}, asked, step, step + 1) as batches:
        return next(batches).student


def _of_plan(plan: UnlabeledPlan) -> StrongSources:
    return StrongSources(
        keys=plan.keys,
        matrices_B33=plan.strong.matrices_B33,
        source_sizes_B2=plan.strong.source_sizes_B2,
    )


def _joined(parts: deque[StrongSources], capacity: int) -> StrongSources | None:
    """Return the newest `capacity` views of several steps as one."""
    if not parts:
        return None
    return StrongSources(
        keys=tuple(key for part in parts for key in part.keys)[-capacity:],
        matrices_B33=np.concatenate([part.matrices_B33 for part in parts])[-capacity:],
        source_sizes_B2=np.concatenate([part.source_sizes_B2 for part in parts])[-capacity:],
    )
