from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from jobs.recipes.detector_defaults import view_settings
from jobs.recipes.train_config import TrainConfig
from jobs.run.ranks import Ranks
from jobs.run.step_report import BatchReport
from jobs.training.batch_losses import NonFiniteLossError
from jobs.training.build_trainer import build_trainer
from jobs.training.train_step import Trainer
from model.method.optim import OptimizerName
from pipeline.loaders.batch import TrainBatch
from pipeline.loaders.labeled import LabeledData
from pipeline.loaders.train_loader import TrainLoader
from pipeline.loaders.unlabeled import UnlabeledData
from storage.dataset.dataset import Dataset

Make = Callable[..., TrainConfig]


def data_of(config: TrainConfig) -> tuple[LabeledData, UnlabeledData]:
    labeled, unlabeled = (Dataset.open(str(path)) for path in (config.data.labeled, config.data.unlabeled))
    return LabeledData(dataset=labeled), UnlabeledData(dataset=unlabeled, mix=config.mix)


def first_step(config: TrainConfig) -> tuple[BatchReport, int]:
    """Return the report of a run's first step, and how often the student was run in it."""
    data = data_of(config)
    trainer, runs = build_trainer(config, data[0].dataset, torch.device("cpu"), Ranks()), []
    trainer.student.register_forward_pre_hook(lambda *_: runs.append(1))
    with TrainLoader(*data, view=view_settings(config), num_steps=1) as loader:
        batch = next(loader)
        (report,) = trainer.update_weights(0, [trainer.compute_gradient(batch)]).read().batches
    return report, len(runs)


def test_a_loss_that_is_skipped_is_not_run_and_an_open_gate_gives_it_times_its_weight(
    run_config: Make,
) -> None:
    pseudo = replace(run_config().pseudo, score_threshold=0.0, gate="any_image")
    reports = {
        weight: first_step(run_config(pseudo=replace(pseudo, unsup_weight=weight)))
        for weight in (0.0, 1.0, 2.0)
    }
    (none, runs_of_none), (single, runs), (double, _) = reports.values()
    assert (runs_of_none, runs) == (1, 2)  # a weight of 0 might meet an infinite loss
    assert none.skipped["mixup"].startswith("weight 0; score threshold 0")
    assert not single.skipped
    names = [name for name in single.losses if name.startswith("mixup")]
    assert len(names) == 3
    for name in names:
        assert double.losses[name] == pytest.approx(2 * single.losses[name])


def test_a_closed_gate_runs_no_loss_and_says_why_in_numbers(run_config: Make) -> None:
    report, runs = first_step(run_config(pseudo=replace(run_config().pseudo, score_threshold=1.0)))
    assert runs == 1
    assert "gate every_image: " in report.skipped["mixup"]
    assert report.boxes_per_image == 0


def a_trainer_and_its_first_batch(config: TrainConfig) -> tuple[Trainer, TrainBatch]:
    data = data_of(config)
    with TrainLoader(*data, view=view_settings(config), num_steps=1) as loader:
        return build_trainer(config, data[0].dataset, torch.device("cpu"), Ranks()), next(loader)


def weights_of(trainer: Trainer) -> list[torch.Tensor]:
    state = trainer.state_dict()
    moments = [value for moments in state["optimizer"]["state"].values() for value in moments.values()]
    return [value.clone() for value in (*state["student"].values(), *moments)]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_non_finite_gradient_names_every_image_that_was_learned_from_and_changes_no_weight(
    run_config: Make, optimizer: OptimizerName
) -> None:
    config = run_config(pseudo=replace(run_config().pseudo, score_threshold=0.0))
    config = replace(config, optim=replace(config.optim, name=optimizer))
    trainer, batch = a_trainer_and_its_first_batch(config)
    trainer.update_weights(0, [trainer.compute_gradient(batch)]).read()
    before = weights_of(trainer)
    losses = trainer.compute_gradient(batch)
    next(iter(trainer.student.parameters())).grad.view(-1)[1] = float("inf")  # type: ignore[union-attr]
    unread = trainer.update_weights(1, [losses])
    with pytest.raises(NonFiniteLossError, match="the gradient is inf") as caught:
        unread.read()
    assert batch.labeled is not None
    assert batch.student is not None
    for key in (*batch.labeled.keys, *batch.student.keys):
        assert key in str(caught.value)
    assert len(before) > len(trainer.student.state_dict())
    assert all(map(torch.equal, before, weights_of(trainer)))


def test_a_non_finite_loss_names_its_part_and_images_and_changes_no_weight(run_config: Make) -> None:
    config = run_config(pseudo=replace(run_config().pseudo, score_threshold=0.0))
    trainer, batch = a_trainer_and_its_first_batch(config)
    before = weights_of(trainer)
    assert batch.student is not None
    student = replace(batch.student, images_BCHW=batch.student.images_BCHW.clone().fill_(float("nan")))
    unread = trainer.update_weights(0, [trainer.compute_gradient(replace(batch, student=student))])
    with pytest.raises(NonFiniteLossError, match=r"loss mixup_loss_\w+ is nan on images") as caught:
        unread.read()
    assert all(key in str(caught.value) for key in student.keys)
    assert batch.labeled is not None
    assert not any(key in str(caught.value) for key in batch.labeled.keys)
    assert all(map(torch.equal, before, weights_of(trainer)[: len(before)]))
