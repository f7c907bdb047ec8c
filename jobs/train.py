"""`mixpl train`: from shards to a teacher.

In: labeled and unlabeled shards and a configuration. Out: a run's folder (`jobs/run_directory.py`) with
checkpoints, metrics, the teacher's pseudo labels and, where test shards are given, COCO figures.

Guarantees: the arms differ in what is learned from unlabeled images and in nothing else (same weights at the
start, same labeled images in the same order, same number of steps, all scored on the teacher's weights). Killed
at any moment and resumed, a run goes on as if it had never stopped. Under torchrun many processes train one model:
each draws its own share of the images, and after every step all hold the same weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from jobs import evaluate
from jobs.class_thresholds import ClassThresholds, labeled_rates
from jobs.ranks import Ranks, joined
from jobs.resume import previous_state, state_of_rank
from jobs.run_directory import RunDirectory
from jobs.run_log import RunLog
from jobs.stored_round import describe_labels, open_labels, resolve_round, stored_repeat_factors
from jobs.train_config import TrainConfig
from jobs.trained import choose_device
from jobs.trainer import Trainer
from jobs.training import Training, repeat_factors
from model.build import build_detector
from model.optim import Schedule, build_optimizer
from model.teacher import Teacher
from pipeline.batch import LabelCache
from pipeline.loader import TrainLoader
from pipeline.settings import MixSettings
from pipeline.stored_labels import StoredLabels
from storage import files
from storage.dataset import Dataset


def train(config: TrainConfig) -> int:
    """Run or resume one training; return 0, or 130 when it was interrupted and can be resumed.

    Raises ValueError for data that does not fit, an existing run without `--resume`, a run that another process
    trains, a non-finite loss, and another rank that failed or is silent.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    run = RunDirectory(config.out)
    device = choose_device(config.device)
    with joined(device, silence=config.silence) as ranks, contextlib.ExitStack() as stack:
        data = open_data(config, ranks)
        config = ranks.from_first(lambda: resolve_round(config, data))
        ranks.from_first(lambda: stack.enter_context(files.held(str(run.lock), command="mixpl train")))
        return _train(config, run, data, device, ranks)


def _train(
    config: TrainConfig, run: RunDirectory, data: Mapping[str, Dataset], device: torch.device, ranks: Ranks
) -> int:
    state = ranks.from_first(lambda: _begin(config, run, data))
    trainer = ranks.each(lambda: build_trainer(config, data["labeled"], device, ranks))
    if ranks.rank:  # rank 0 draws what a process alone draws
        torch.manual_seed(int(np.random.SeedSequence([config.seed, ranks.rank]).generate_state(1)[0]))
    own = None if state is None else ranks.each(lambda: state_of_rank(state, ranks))
    if state is not None and own is not None:
        trainer.load_state_dict(state, own)
    ranks.copy_from_first([*trainer.student.state_dict().values(), *trainer.teacher.state_dict().values()])
    factors = repeat_factors(config, data, ranks)
    labels = ranks.each(lambda: open_labels(config, data))
    stored_factors = ranks.from_first(lambda: stored_repeat_factors(config, data))
    start = 0 if state is None else int(state["step"])
    with (
        ranks.each(
            lambda: _loader(config, data, device, ranks, factors, labels, stored_factors, own)
        ) as loader,
        ranks.each(lambda: RunLog(run, config, ranks, start, _label_provenance(data))) as log,
    ):
        log.say(describe_labels(config, labels, stored_factors))
        training = Training(
            config=config, run=run, data=data, trainer=trainer, ranks=ranks, loader=loader, log=log
        )
        return training.go_on(state, factors)


def _begin(config: TrainConfig, run: RunDirectory, data: Mapping[str, Dataset]) -> dict[str, Any] | None:
    """Return where the run goes on, or None and the folder made ready for a new one."""
    state = previous_state(config, run)
    if state is None:
        run.clear()
        run.describe(dataclasses.replace(config, resume=False), _data_provenance(data))
    return state


def build_trainer(config: TrainConfig, labeled: Dataset, device: torch.device, ranks: Ranks) -> Trainer:
    """Return student, teacher and optimiser as they are before the first step: a function of the seed alone."""
    torch.manual_seed(config.seed)
    student = build_detector(
        config.model.name, num_classes=len(labeled.classes), weights=config.model.weights, seed=config.seed
    )
    student = student.to(device).to(memory_format=torch.channels_last).train()
    teacher = Teacher(
        student,
        momentum_floor=config.teacher.momentum,
        warmup_gamma=config.teacher.warmup,
        interval=config.teacher.interval,
    )
    optimizer = build_optimizer(
        student,
        name=config.optim.name,
        lr=config.optim.lr,
        weight_decay=config.optim.weight_decay,
        momentum=config.optim.momentum,
        backbone_lr_multiplier=config.optim.backbone_lr,
    )
    return Trainer(
        student=student,
        teacher=teacher,
        optimizer=optimizer,
        schedule=Schedule(warmup_steps=config.optim.warmup_steps, warmup_start=config.optim.warmup_start),
        clip_norm=config.optim.clip,
        pseudo=config.pseudo,
        thresholds=_thresholds(config, labeled),
        cache=LabelCache(mix_settings(config).capacity(config.data.batch_unlabeled)),
        device=device,
        bf16=config.bf16,
        ranks=ranks,
    )


def _thresholds(config: TrainConfig, labeled: Dataset) -> ClassThresholds | None:
    if config.thresholds.policy == "fixed":
        return None
    return ClassThresholds(
        config.thresholds.policy,
        score_threshold=config.pseudo.score_threshold,
        rates_C=labeled_rates(labeled),
        every=config.thresholds.every,
        images_a_step=config.data.batch_unlabeled,
    )


def mix_settings(config: TrainConfig) -> MixSettings:
    """Return the mixing of an arm: plain mean teacher erases as configured and mixes nothing."""
    if config.arm == "mixpl":
        return config.mix
    return dataclasses.replace(config.mix, mixup=False, mosaic=False)


def open_data(config: TrainConfig, ranks: Ranks) -> dict[str, Dataset]:
    """Return the data sets by part. Raises ValueError when the ranks do not see the same ones."""
    data = ranks.each(lambda: _open_parts(config))
    hashes = ranks.gather(lambda: {part: dataset.hash for part, dataset in data.items()})
    for part, dataset in data.items():
        others = [rank for rank, found in enumerate(hashes) if found[part] != hashes[0][part]]
        if others:
            raise ValueError(
                f"expected the same {part} images on every rank, got others on rank {others[0]} than on rank 0: "
                f"{dataset.root}; copy the data set of rank 0 there"
            )
    return data


def _open_parts(config: TrainConfig) -> dict[str, Dataset]:
    locations = {"labeled": config.data.labeled, "test": config.data.test}
    if config.arm != "supervised":
        locations["unlabeled"] = config.data.unlabeled
    data = {part: Dataset.open(location) for part, location in locations.items() if location is not None}
    if not data["labeled"].labeled:
        raise ValueError(f"--data.labeled {config.data.labeled}: that data set has no labels")
    if "test" in data and not data["test"].labeled:
        raise ValueError(f"--data.test {config.data.test}: that data set has no labels to score against")
    for dataset in data.values():
        evaluate.require_same_classes(data["labeled"].classes, dataset)
    return data


def _data_provenance(data: Mapping[str, Dataset]) -> dict[str, Any]:
    return {
        part: {"root": d.root, "images": d.num_images, "hash": d.hash, "split": d.split}
        for part, d in data.items()
    }


def _loader(
    config: TrainConfig,
    data: Mapping[str, Dataset],
    device: torch.device,
    ranks: Ranks,
    factors: dict[str, float] | None,
    labels: StoredLabels | None,
    stored_factors: dict[str, float] | None,
    own: dict[str, Any] | None,
) -> TrainLoader:
    return TrainLoader(
        data["labeled"],
        data.get("unlabeled"),
        batch_labeled=config.data.batch_labeled,
        batch_unlabeled=config.data.batch_unlabeled,
        view=config.view,
        mix=mix_settings(config),
        seed=config.seed,
        rank=ranks.rank,
        world=ranks.world,
        unlabeled_start_step=config.burn_in,
        repeat_factors=factors,
        unlabeled_repeat_factors=stored_factors,
        labels=labels,
        labels_until=config.labels.until or None,
        rounding=config.resampling.rounding,
        smallest=config.data.smallest,
        window=config.data.window,
        resume=None if own is None else own["loader"],
        num_steps=config.steps,
        device="cuda" if device.type == "cuda" else "cpu",
        device_id=device.index or 0,
        num_threads=config.data.threads,
        prefetch=config.data.prefetch,
    )


def _label_provenance(data: Mapping[str, Dataset]) -> dict[str, object]:
    unlabeled = data.get("unlabeled")
    return {"dataset": unlabeled.name, "dataset_hash": unlabeled.hash} if unlabeled else {}
