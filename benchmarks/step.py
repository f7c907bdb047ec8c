"""A training step beside the plainest torch loop: the same model, the same views, the same boxes.

Ours is the trainer's step on finished batches: the student's passes on the labeled, the mixed and the mosaic view,
the teacher's labels, their way into the views, gate, clipping, optimiser, moving average, and the reading of all
numbers. Theirs does the model's work on the same pixels and no more: the same passes with the boxes that ours had
found, the teacher's prediction, clip, step, average; it looks at no number. The share is what ours costs beyond.
An untrained teacher finds nothing of use: as many drawn boxes as photographs have objects replace its own.
Learning rates are tiny, so that no step changes the next one. One thread, compact detectors, CPU seconds, medians
of interleaved runs.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measure import Result, at_most, cpu_seconds
from benchmarks.photos import photo_data
from jobs.recipes.detector_defaults import view_settings
from jobs.recipes.drawn import tiny
from jobs.recipes.train_config import ModelConfig, TrainConfig
from jobs.run.ranks import Ranks
from jobs.training.build_trainer import build_trainer
from model.detector import Detections, Sizes, Target
from model.detectors.spec import DetectorName
from model.method.teacher import Teacher
from pipeline.loaders.batch import TrainBatch
from pipeline.loaders.labeled import LabeledData
from pipeline.loaders.train_loader import TrainLoader
from pipeline.loaders.unlabeled import UnlabeledData

NUM_PHOTOS, WARM_UP, STEPS, RUNS = 16, 3, 2, 7
SHORT_RANGE, LONG_MAX = (160, 256), 320
BOXES_AN_IMAGE = 7
DETECTORS: tuple[DetectorName, ...] = (
    "fcos-compact",
    "fasterrcnn-resnet50",
    "retinanet-resnet50",
    "rtdetr",
    "dino-resnet50",
)
"""One or two of each family."""


def run() -> list[Result]:
    """Return the share of a step of each detector that is not the model's own work."""
    with tempfile.TemporaryDirectory() as folder:
        data = photo_data(Path(folder), NUM_PHOTOS)
        return [_share(_Steps(data, _config(name))) for name in DETECTORS]


def _config(name: DetectorName) -> TrainConfig:
    base = tiny()
    return replace(
        base,
        burn_in=0,
        view=replace(base.view, short_range=SHORT_RANGE, long_max=LONG_MAX),
        mix=replace(base.mix, mosaic_range=(SHORT_RANGE[0] // 2, SHORT_RANGE[1] // 2)),
        model=ModelConfig(name=name, weights="none", size="compact"),
        pseudo=replace(base.pseudo, score_threshold=0.5, gate="any_image"),
        optim=replace(base.optim, lr=1e-12, weight_decay=0.0),
    )


class _DrawnBoxes(Teacher):
    """A teacher that predicts as any other, and then says something else."""

    def predict(self, images_BCHW: Tensor, sizes_B2: Sizes) -> list[Detections]:
        super().predict(images_BCHW, sizes_B2)
        generator = torch.Generator().manual_seed(0)
        return [
            Detections(
                boxes_N4=torch.tensor([width, height]).repeat(2)
                * torch.tensor([0.6, 0.6, 1.0, 1.0]).mul(torch.rand(BOXES_AN_IMAGE, 1, generator=generator)),
                categories_N=torch.zeros(BOXES_AN_IMAGE, dtype=torch.int64),
                scores_N=torch.full((BOXES_AN_IMAGE,), 0.9),
            )
            for height, width in sizes_B2
        ]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Pass:
    """What the student was given in one of its passes."""

    images_BCHW: Tensor
    sizes_B2: list[tuple[int, int]]
    targets: list[Target]
    weight: float


class _Steps:
    """The same steps as our trainer takes them, and as a plain loop does."""

    def __init__(self, data: tuple[LabeledData, UnlabeledData], config: TrainConfig) -> None:
        self.name, self._config = config.model.name, config
        labeled, unlabeled = data[0], replace(data[1], mix=config.mix)
        with TrainLoader(labeled, unlabeled, view=view_settings(config), num_steps=WARM_UP + STEPS) as loader:
            batches = list(loader)
        device, ranks = torch.device("cpu"), Ranks()
        self._trainer = build_trainer(config, labeled.dataset, device, ranks)
        self._trainer.teacher = _DrawnBoxes(self._trainer.student)
        for batch in batches[:WARM_UP]:
            self._ours(batch)
        self._batches = batches[WARM_UP:]
        self._passes = [self._record(batch) for batch in self._batches]

    def ours(self) -> None:
        """Take the steps as `mixpl train` does."""
        for batch in self._batches:
            self._ours(batch)

    def theirs(self) -> None:
        """Take them with nothing but the model."""
        for batch, passes in zip(self._batches, self._passes, strict=True):
            self._theirs(batch, passes)

    def _ours(self, batch: TrainBatch) -> None:
        self._trainer.update_weights(batch.step, [self._trainer.compute_gradient(batch)]).read()

    def _record(self, batch: TrainBatch) -> list[_Pass]:
        """Take our step, and return what the student was given in it."""
        weights, passes = iter((1.0, 1.0, 0.5)), []
        handle = self._trainer.student.register_forward_pre_hook(
            lambda _, given: passes.append(
                _Pass(images_BCHW=given[0], sizes_B2=given[1], targets=given[2], weight=next(weights))
            )
        )
        self._ours(batch)
        handle.remove()
        return passes

    def _theirs(self, batch: TrainBatch, passes: list[_Pass]) -> None:
        student, teacher = self._trainer.student, self._trainer.teacher.detector
        optimizer = self._trainer.optimizer
        optimizer.zero_grad()
        optimizer.found_inf = None  # type: ignore[attr-defined]
        assert batch.weak is not None
        teacher.predict(batch.weak.images_BCHW, batch.weak.sizes_B2)
        for given in passes:
            losses = student(given.images_BCHW, given.sizes_B2, given.targets)
            (torch.stack(list(losses.values())).sum() * given.weight).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(student.parameters(), self._config.optim.clip)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 0.001)


def _share(steps: _Steps) -> Result:
    measured = [partial(cpu_seconds, steps.ours), partial(cpu_seconds, steps.theirs)]
    seconds = [[function() for function in measured] for _ in range(1 + RUNS)][1:]
    ours, theirs = (statistics.median(column) for column in zip(*seconds, strict=True))
    name = f"beyond the model in a training step, {steps.name}"
    return at_most(name, 100 * (ours / theirs - 1), bar=5, unit="% of a step")
