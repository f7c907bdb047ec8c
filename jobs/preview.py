"""`mixpl preview`: what the student will see of your data at one step of a run.

In: a recipe or a run's `config.json`, data sets, and the number of a step. Out: a PNG: the labeled views with
their boxes, the weak views, the strong views, the mixup images and the mosaic, with the geometry of its plan; with
`--plan` one mixup and the mosaic taken apart: originals, plan, pixels, boxes. The boxes of unlabeled images are the
truth where it is known (kept apart or not; training never opens it), or with `--run` those of a trained teacher;
at a step that learns from a stored round, those of the round that count.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import torch
import tyro

from analysis.figures.boxes_on_images import write_png
from jobs.inference.tensor_labels import labels_of
from jobs.inference.trained import open_trained
from jobs.pictures.preview_pictures import plan_rows_picture, step_picture
from jobs.pictures.preview_step import (
    PreviewStep,
    WeakLabels,
    preview_step,
    round_on_weak,
    steps_to_fill,
    truth_on_weak,
)
from jobs.recipes.detector_defaults import score_threshold, view_settings
from jobs.recipes.ranges import require_at_least
from jobs.recipes.train_config import TrainConfig
from jobs.training.run_data import counted_in_batches, open_data
from jobs.training.stored_round import open_labels, resolve_round
from pipeline.loaders.batch import TrainBatch
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError
from storage.labels import Labels


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewedRun(TrainConfig):
    """The run that is looked at. Nothing is written into its folder, so `--out` names the picture."""

    out: Annotated[str, tyro.conf.arg(name="run-out"), tyro.conf.Suppress, tyro.conf.Fixed] = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewConfig:
    """What to look at; the defaults are the recipe's."""

    run: Annotated[PreviewedRun, tyro.conf.arg(name="")]
    """The run that is looked at, as far as its batches depend on it."""
    out: str = "preview.png"
    """PNG file or URL to write."""
    step: int | None = None
    """Which step of the run; by default the first with everything mixed."""
    teacher: Annotated[str | None, tyro.conf.arg(name="run")] = None
    """A run's folder or checkpoint, whose teacher gives the boxes of unlabeled images."""
    plan: bool = False
    """Take one mixup image and the mosaic apart: originals, plan, pixels, boxes."""

    def __post_init__(self) -> None:
        """Check the range."""
        require_at_least(0, self, "step")

    @staticmethod
    def from_recipe(config: TrainConfig) -> PreviewConfig:
        """Return what a preview of this run starts from."""
        settings = {name: getattr(config, name) for name in TrainConfig.__dataclass_fields__}
        settings["data"] = dataclasses.replace(config.data, test=None)  # nothing is scored
        return PreviewConfig(run=PreviewedRun(**settings))


def preview(config: PreviewConfig) -> str:
    """Draw one step and return the file. Raises ConfigError for data or a run that do not fit."""
    data = open_data(config.run)
    run, batches = counted_in_batches(resolve_round(config.run, data)), config.run.optim.accumulate
    unlabeled = data.get("unlabeled")
    step = run.burn_in + steps_to_fill(run) if config.step is None else config.step * batches
    weak_labels, origin = _boxes(config, unlabeled)
    stored = open_labels(run, data)
    if stored is not None and unlabeled is not None:
        weak_labels = round_on_weak(stored, unlabeled, otherwise=weak_labels)
        origin = stored.name if step < (run.labels.until or step + 1) else origin
    seen = preview_step(run, data, step, weak_labels)
    name = f"step {step // batches}" + (f", batch {step % batches + 1} of {batches}" if batches > 1 else "")
    title = f"{name.capitalize()} of a run with seed {run.seed}"
    view = view_settings(run)
    if config.plan:
        picture = plan_rows_picture(seen, _whole(seen, name, unlabeled), view=view)
    else:
        picture = step_picture(seen, data["labeled"].classes, view=view, title=title, origin=origin)
    write_png(config.out, picture)
    print(f"{config.out}: {name}, boxes of unlabeled images: {origin}")
    return config.out


def _boxes(config: PreviewConfig, unlabeled: Dataset | None) -> tuple[WeakLabels, str]:
    """Return what gives the unlabeled images their boxes, and how to name it."""
    if unlabeled is None:
        return lambda _: None, "there are no such images"
    if config.teacher is None:
        if unlabeled.labeled or unlabeled.has_hidden_truth:
            return truth_on_weak(unlabeled), "the truth"
        return truth_on_weak(unlabeled), "not known; --run names a teacher that has some"
    trained = open_trained(config.teacher, weights="teacher", device=torch.device("cpu"))
    unlabeled.require_same_classes(trained.classes, lender=trained.config.data.labeled)
    threshold = score_threshold(trained.config)

    def predict(batch: TrainBatch) -> Labels:
        assert batch.weak is not None
        found = labels_of(trained.detector.predict(batch.weak.images_BCHW, batch.weak.sizes_B2))
        return found.above(threshold)

    return predict, f"the teacher of {trained.run.name} at step {trained.step}, score > {threshold:g}"


def _whole(seen: PreviewStep, name: str, unlabeled: Dataset | None) -> Dataset:
    """Return the unlabeled data; ConfigError unless everything of the step is mixed."""
    plan = seen.batch.plan
    if unlabeled is None or plan is None or plan.mix.mosaic is None or plan.mix.mixup.partner is None:
        raise ConfigError(
            f"expected a step with mixup and mosaic for --plan, got {name} without; leave out --step, and "
            "choose the arm mixpl with both"
        )
    return unlabeled
