from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from jobs.recipes.train_config import TrainConfig
from jobs.run.ranks import Ranks
from jobs.train import build_trainer
from jobs.training.train_step import NonFiniteLossError
from pipeline.loaders.labeled import LabeledData
from pipeline.loaders.train_loader import TrainLoader
from pipeline.loaders.unlabeled import UnlabeledData
from storage.dataset.dataset import Dataset

Make = Callable[..., TrainConfig]


def test_a_non_finite_gradient_names_every_image_that_was_learned_from_and_changes_no_weight(
    run_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_config(pseudo=replace(run_config().pseudo, score_threshold=0.0))
    labeled, unlabeled = (Dataset.open(str(path)) for path in (config.data.labeled, config.data.unlabeled))
    trainer = build_trainer(config, labeled, torch.device("cpu"), Ranks())
    data = LabeledData(dataset=labeled), UnlabeledData(dataset=unlabeled, mix=config.mix)
    with TrainLoader(*data, view=config.view, num_steps=1) as loader:
        batch = next(loader)
    before = [parameter.clone() for parameter in trainer.student.parameters()]
    monkeypatch.setattr("jobs.training.train_step.clip_gradient", lambda *_: float("nan"))
    with pytest.raises(NonFiniteLossError, match="the gradient is nan") as caught:
        trainer.apply(batch, trainer.learn(batch))
    assert batch.labeled is not None
    assert batch.student is not None
    for key in (*batch.labeled.keys, *batch.student.keys):
        assert key in str(caught.value)
    assert all(map(torch.equal, before, trainer.student.parameters()))
