"""`mixpl train`: from shards to a teacher.

In: labeled and unlabeled shards and a configuration. Out: a run's folder (`jobs/run_directory.py`) with
checkpoints, metrics, the teacher's pseudo labels and, where test shards are given, COCO figures.

Guarantees: the arms differ in what is learned from unlabeled images and in nothing else (same weights at the
start, same labeled images in the same order, same number of steps, all scored on the teacher's weights). Killed
at any moment and resumed, a run goes on as if it had never stopped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from jobs import checkpoint, config_file, evaluate
from jobs.class_thresholds import ClassThresholds, labeled_rates
from jobs.interrupt import INTERRUPTED, Interrupt
from jobs.predictions import PredictSettings
from jobs.resampling import describe_repeats, labeled_repeat_factors
from jobs.run_directory import RunDirectory
from jobs.run_log import RunLog
from jobs.stored_round import describe_labels, open_labels, resolve_round, stored_repeat_factors
from jobs.train_config import TrainConfig
from jobs.trained import choose_device
from jobs.trainer import NonFiniteLossError, StepReport, Trainer
from model.build import build_detector
from model.optim import Schedule, build_optimizer
from model.teacher import Teacher
from pipeline.batch import LabelCache, TrainBatch
from pipeline.loader import TrainLoader
from pipeline.settings import MixSettings
from pipeline.stored_labels import StoredLabels
from storage import files
from storage.dataset import Dataset

MAY_CHANGE = (
    "out", "steps", "resume", "threads", "log.",
    "data.labeled", "data.unlabeled", "data.test", "data.threads", "data.prefetch", "labels.round",
)  # fmt: skip
"""What a resumed run may be asked anew: it changes no weight of the steps that are left, except that another
number of `threads` adds in another order. Data and labels may lie elsewhere; others are refused by the loader."""


def train(config: TrainConfig) -> int:
    """Run or resume one training; return 0, or 130 when it was interrupted and can be resumed.

    Raises ValueError for data that does not fit, an existing run without `--resume`, a run that another process
    trains, and a non-finite loss.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    run = RunDirectory(config.out)
    data = _open_data(config)
    config = resolve_round(config, data)
    with files.held(str(run.lock), command="mixpl train"):
        return _train(config, run, data, choose_device(config.device))


def _train(config: TrainConfig, run: RunDirectory, data: Mapping[str, Dataset], device: torch.device) -> int:
    state = _previous_state(config, run)
    if state is None:
        run.clear()
        run.describe(dataclasses.replace(config, resume=False), _data_provenance(data))
    trainer = build_trainer(config, data["labeled"], device)
    if state is not None:
        trainer.load_state_dict(state)
    return _run(config, run, data, trainer, device, state)


def build_trainer(config: TrainConfig, labeled: Dataset, device: torch.device) -> Trainer:
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


def _open_data(config: TrainConfig) -> dict[str, Dataset]:
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


def _previous_state(config: TrainConfig, run: RunDirectory) -> dict[str, Any] | None:
    newest = checkpoint.latest(run.checkpoints)
    if not config.resume:
        if newest is not None:
            raise ValueError(
                f"{run.root} holds a run already; add --resume to continue it, or name another --out"
            )
        return None
    if newest is None:
        return None
    _refuse_other_run(config, run)
    state = checkpoint.load(newest)
    if state["step"] > config.steps:
        raise ValueError(
            f"{run.root} has {state['step']} steps already, asked for --steps {config.steps}; "
            "name another --out to train for fewer"
        )
    return state


def _refuse_other_run(config: TrainConfig, run: RunDirectory) -> None:
    """Raise ValueError when the run in the folder was another one: continuing it would be neither."""
    text = run.config.read_text(encoding="utf-8")
    before = config_file.flatten(config_file.from_json(TrainConfig, text, where=str(run.config)))
    now = config_file.flatten(config)
    different = [
        f"{key} was {before[key]!r}, asked for {now[key]!r}"
        for key in now
        if now[key] != before[key] and not key.startswith(MAY_CHANGE)
    ]
    if different:
        raise ValueError(
            f"{run.root} holds another run: {'; '.join(different)}; resume with "
            f"`mixpl train {run.config} --resume`, or name another --out"
        )


def _run(
    config: TrainConfig,
    run: RunDirectory,
    data: Mapping[str, Dataset],
    trainer: Trainer,
    device: torch.device,
    state: dict[str, Any] | None,
) -> int:
    start = 0 if state is None else int(state["step"])
    saved = start
    factors = _repeat_factors(config, data)
    labels, stored_factors = open_labels(config, data), stored_repeat_factors(config, data)
    with (
        _loader(config, data, device, factors, labels, stored_factors, state) as loader,
        RunLog(run, config, start_step=start, provenance=_label_provenance(data)) as log,
        Interrupt() as interrupt,
    ):
        if state is not None:  # what was asked anew, so that a resume from RUN/config.json goes on with it
            run.write_config(dataclasses.replace(config, resume=False))
        if said := describe_repeats(data["labeled"], factors):
            log.say(said)
        if said := describe_labels(config, labels, stored_factors):
            log.say(said)
        if start == config.steps:
            log.say(f"{run.root} is complete at step {start}; a higher --steps goes on from there")
        if state is not None and _is_unscored(config, run, data, start):
            _score(config, run, data["test"], trainer, start, log)
        asked = factors if state is None else None  # a resumed loader has those of its checkpoint
        for batch in loader:
            report = _learn(trainer, batch, run)
            done = batch.step + 1
            log.step(batch, report)
            if due(done, config.resampling.every):
                asked = _ask_again(config, data, loader, log, asked)
            if due(done, config.log.checkpoint) or done == config.steps or interrupt.requested:
                _save(config, run, data["labeled"], trainer, batch)
                saved = done
            if _scored_after(config, data, done):
                _score(config, run, data["test"], trainer, done, log)
            if interrupt.requested and done < config.steps:
                log.say(f"stopped after step {saved}; continue with `mixpl train {run.config} --resume`")
                return INTERRUPTED
    return 0


def _repeat_factors(config: TrainConfig, data: Mapping[str, Dataset]) -> dict[str, float] | None:
    return labeled_repeat_factors(
        data["labeled"],
        threshold=config.resampling.threshold,
        unlabeled=data.get("unlabeled"),
        rounds=config.resampling.rounds,
    )


def _ask_again(
    config: TrainConfig,
    data: Mapping[str, Dataset],
    loader: TrainLoader,
    log: RunLog,
    before: dict[str, float] | None,
) -> dict[str, float] | None:
    """Take up the repeat factors that the tables give now; a checkpoint written after this carries them."""
    factors = _repeat_factors(config, data)
    if factors is not None and factors != before:
        epoch = loader.set_repeat_factors(factors)
        log.say(f"from epoch {epoch} of the labeled images, {describe_repeats(data['labeled'], factors)}")
    return factors


def due(step: int, every: int) -> bool:
    """Return whether something that happens every n-th step happens after this one; 0 is never."""
    return every > 0 and step % every == 0


def _scored_after(config: TrainConfig, data: Mapping[str, Dataset], step: int) -> bool:
    return "test" in data and (due(step, config.log.evaluate) or step == config.steps)


def _is_unscored(config: TrainConfig, run: RunDirectory, data: Mapping[str, Dataset], step: int) -> bool:
    """Return whether the run was killed between the checkpoint of a step and the end of its scoring."""
    if not _scored_after(config, data, step):
        return False
    return not files.exists(evaluate.kept_path(run, dataset=data["test"], weights="teacher", step=step))


def _loader(
    config: TrainConfig,
    data: Mapping[str, Dataset],
    device: torch.device,
    factors: dict[str, float] | None,
    labels: StoredLabels | None,
    stored_factors: dict[str, float] | None,
    state: dict[str, Any] | None,
) -> TrainLoader:
    return TrainLoader(
        data["labeled"],
        data.get("unlabeled"),
        batch_labeled=config.data.batch_labeled,
        batch_unlabeled=config.data.batch_unlabeled,
        view=config.view,
        mix=mix_settings(config),
        seed=config.seed,
        unlabeled_start_step=config.burn_in,
        repeat_factors=factors,
        unlabeled_repeat_factors=stored_factors,
        labels=labels,
        labels_until=config.labels.until or None,
        rounding=config.resampling.rounding,
        smallest=config.data.smallest,
        window=config.data.window,
        resume=None if state is None else state["loader"],
        num_steps=config.steps,
        device="cuda" if device.type == "cuda" else "cpu",
        num_threads=config.data.threads,
        prefetch=config.data.prefetch,
    )


def _label_provenance(data: Mapping[str, Dataset]) -> dict[str, object]:
    unlabeled = data.get("unlabeled")
    return {"dataset": unlabeled.name, "dataset_hash": unlabeled.hash} if unlabeled else {}


def _learn(trainer: Trainer, batch: TrainBatch, run: RunDirectory) -> StepReport:
    try:
        return trainer.step(batch)
    except NonFiniteLossError as error:
        newest = checkpoint.latest(run.checkpoints)
        kept = f"the last good checkpoint is {newest}" if newest else "no checkpoint was written yet"
        raise NonFiniteLossError(
            f"step {batch.step}: {error}; {kept}; try a lower --optim.lr or --optim.clip"
        ) from error


def _save(
    config: TrainConfig, run: RunDirectory, labeled: Dataset, trainer: Trainer, batch: TrainBatch
) -> None:
    state = {
        "step": batch.step + 1,
        "seed": config.seed,
        "arm": config.arm,
        "classes": list(labeled.classes),
        "split_hash": None if labeled.split is None else labeled.split.get("hash"),
        "loader": batch.resume,
        **trainer.state_dict(),
    }
    checkpoint.save(run.checkpoints, batch.step + 1, state, keep=config.log.keep)


def _score(
    config: TrainConfig, run: RunDirectory, test: Dataset, trainer: Trainer, step: int, log: RunLog
) -> None:
    settings = PredictSettings(view=config.view, threads=config.data.threads, device=trainer.device)
    result = evaluate.score(trainer.teacher.detector, test, settings=settings)
    evaluate.keep(result, run, dataset=test, weights="teacher", step=step)
    log.scored(step, test.name, result)
