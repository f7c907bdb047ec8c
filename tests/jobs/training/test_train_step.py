from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from jobs.recipes.detector_defaults import view_settings
from jobs.recipes.train_config import TrainConfig
from jobs.run.ranks import Ranks
from jobs.run.step_report import StepReport
from jobs.training.build_trainer import build_trainer
from jobs.training.train_step import NonFiniteLossError
from pipeline.loaders.labeled import LabeledData
from pipeline.loaders.train_loader import TrainLoader
from pipeline.loaders.unlabeled import UnlabeledData
from storage.dataset.dataset import Dataset

Make = Callable[..., TrainConfig]


def data_of(config: TrainConfig) -> tuple[LabeledData, UnlabeledData]:
    labeled, unlabeled = (Dataset.open(str(path)) for path in (config.data.labeled, config.data.unlabeled))
    return LabeledData(dataset=labeled), UnlabeledData(dataset=unlabeled, mix=config.mix)


def first_step(config: TrainConfig) -> tuple[StepReport, int]:
    """Return the report of a run's first step, and how often the student was run in it."""
    data = data_of(config)
    trainer, runs = build_trainer(config, data[0].dataset, torch.device("cpu"), Ranks()), []
    trainer.student.register_forward_pre_hook(lambda *_: runs.append(1))
    with TrainLoader(*data, view=view_settings(config), num_steps=1) as loader:
        batch = next(loader)
        report = trainer.update_weights(batch, trainer.compute_gradient(batch))
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


def test_a_non_finite_gradient_names_every_image_that_was_learned_from_and_changes_no_weight(
    run_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_config(pseudo=replace(run_config().pseudo, score_threshold=0.0))
    data = data_of(config)
    trainer = build_trainer(config, data[0].dataset, torch.device("cpu"), Ranks())
    with TrainLoader(*data, view=view_settings(config), num_steps=1) as loader:
        batch = next(loader)
    before = [parameter.clone() for parameter in trainer.student.parameters()]
    monkeypatch.setattr("model.method.optim.clip_gradient", lambda *_: float("nan"))
    with pytest.raises(NonFiniteLossError, match="the gradient is nan") as caught:
        trainer.update_weights(batch, trainer.compute_gradient(batch))
    assert batch.labeled is not None
    assert batch.student is not None
    for key in (*batch.labeled.keys, *batch.student.keys):
        assert key in str(caught.value)
    assert all(map(torch.equal, before, trainer.student.parameters()))
