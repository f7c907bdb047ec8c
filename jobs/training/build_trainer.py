"""From a configuration to the trainer of a run, as it is before the first step.

In: a `TrainConfig`, the labeled data for the number of classes, a device. Out: student, teacher and optimiser, a
function of the seed alone.
"""

from __future__ import annotations

import torch

from jobs.recipes.detector_defaults import require_padding, resolve_detector, score_threshold
from jobs.recipes.model_errors import answer_model_errors
from jobs.recipes.schedule import resolve_schedule, schedule_of
from jobs.recipes.train_config import TrainConfig
from jobs.run.ranks import Ranks
from jobs.training.class_thresholds import ClassThresholds, labeled_rates
from jobs.training.run_data import mix_settings
from jobs.training.starting_weights import build_student
from jobs.training.train_step import Trainer
from model.checkpoint_activations import checkpoint_activations
from model.detector import Detector
from model.method.optim import build_optimizer
from model.method.teacher import Teacher
from model.method.weight_update import WeightUpdate
from pipeline.loaders.batch import LabelCache
from storage.dataset.dataset import Dataset


@answer_model_errors()
def build_trainer(config: TrainConfig, labeled: Dataset, device: torch.device, ranks: Ranks) -> Trainer:
    """Return student, teacher and optimiser as they are before the first step.

    Raises ConfigError for a number or a name that cannot be, SourceError for weights that cannot be had.
    """
    config = resolve_schedule(resolve_detector(config))
    torch.manual_seed(config.seed)
    student, origin = build_student(config.model, labeled.classes, seed=config.seed)
    if origin and ranks.rank == 0:
        print(origin)
    require_padding(config, student)
    student = student.to(device).to(memory_format=torch.channels_last).train()
    teacher = Teacher(
        student,
        momentum_floor=config.teacher.momentum,
        warmup_gamma=config.teacher.warmup,
        interval=config.teacher.interval,
        batch_scale=_batch_scale(config, ranks),
    )
    if config.model.checkpoint_activations:
        checkpoint_activations(student)  # once the teacher is a copy of it
    return Trainer(
        student=student,
        teacher=teacher,
        weight_update=_weight_update(config, student),
        pseudo=config.pseudo,
        thresholds=_thresholds(config, labeled),
        cache=LabelCache(mix_settings(config).capacity(config.data.batch_unlabeled)),
        bf16=config.bf16,
        accumulate=config.optim.accumulate,
        ranks=ranks,
    )


def _weight_update(config: TrainConfig, student: Detector) -> WeightUpdate:
    optim = config.optim
    optimizer = build_optimizer(
        student,
        name=optim.name,
        lr=optim.lr,
        weight_decay=optim.weight_decay,
        momentum=optim.momentum,
        backbone_lr_multiplier=optim.backbone_lr,
    )
    return WeightUpdate(student, optimizer, schedule_of(config), clip_norm=optim.clip)


def _batch_scale(config: TrainConfig, ranks: Ranks) -> float:
    """Return how many times the labeled images that the teacher's momentum is meant for a step has."""
    meant = config.teacher.reference_batch
    images = config.data.batch_labeled * config.optim.accumulate * ranks.world_size
    return images / meant if meant else 1.0


def _thresholds(config: TrainConfig, labeled: Dataset) -> ClassThresholds | None:
    if config.thresholds.policy == "fixed":
        return None
    return ClassThresholds(
        config.thresholds.policy,
        score_threshold=score_threshold(config),
        rates_C=labeled_rates(labeled),
        every=config.thresholds.every * config.optim.accumulate,
        images_a_batch=config.data.batch_unlabeled,
    )
