"""Options that change what a step does: each run ends, stopped and resumed, as one that never stopped."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.inference.trained import open_trained
from jobs.recipes.train_config import ThresholdConfig, TrainConfig
from jobs.run import checkpoint
from jobs.run.ranks import Ranks
from jobs.train import train
from jobs.training.build_trainer import build_trainer
from jobs.training.run_data import open_data, open_loader, read_run_inputs
from jobs.training.scorings import Scorings
from storage.errors import ConfigError
from storage.tables.label_store import LabelStore
from tests.same_states import assert_same

Make = Callable[..., TrainConfig]


def final_state(config: TrainConfig) -> dict[str, Any]:
    newest = checkpoint.latest(Path(config.out) / "checkpoints")
    assert newest is not None
    return checkpoint.load(newest)


def whole_and_resumed(run_config: Make, tmp_path: Path, *, stop: int, **changes: Any) -> dict[str, Any]:
    """Return the final state of a run, which one stopped after `stop` steps and resumed has as well."""
    whole = run_config(out=str(tmp_path / "whole"), **changes)
    train(whole)
    stopped = replace(whole, out=str(tmp_path / "stopped"))
    train(replace(stopped, steps=stop))
    train(replace(stopped, resume=True))
    state = final_state(whole)
    assert_same(state, final_state(stopped))
    return state


def test_a_cosine_resumes_exactly_and_its_end_belongs_to_the_run(run_config: Make, tmp_path: Path) -> None:
    optim = replace(run_config().optim, schedule="cosine", warmup_steps=2, cosine_steps=10, end=0.1)
    state = whole_and_resumed(run_config, tmp_path, stop=5, optim=optim)
    assert [group["lr"] for group in state["optimizer"]["param_groups"]] == pytest.approx([3e-4, 3e-4])

    unsaid = run_config(optim=replace(optim, cosine_steps=None), steps=4, burn_in=4)
    train(unsaid)
    with pytest.raises(ConfigError, match=r"optim\.cosine_steps was 4, asked for 6"):
        train(replace(unsaid, resume=True, steps=6))


def test_a_schedule_without_its_numbers_is_refused_before_any_folder(run_config: Make) -> None:
    config = run_config(optim=replace(run_config().optim, schedule="step"))
    with pytest.raises(ConfigError, match="ascending milestones after the warm-up"):
        train(config)
    assert not Path(config.out).exists()


def test_accumulated_batches_leave_the_mean_of_their_gradients(run_config: Make) -> None:
    """Halves are exact in floating point, so the mean of two is to the bit what each batch alone would give."""
    single = run_config(burn_in=0, pseudo=replace(run_config().pseudo, score_threshold=0.0))
    double = replace(single, optim=replace(single.optim, accumulate=2))
    gradients = {}
    for config in (single, double):
        data = open_data(config)
        trainer = build_trainer(config, data["labeled"], torch.device("cpu"), Ranks())
        with open_loader(config, data, read_run_inputs(config, data), torch.device("cpu")) as loader:
            found = []
            for _ in range(2):
                trainer.compute_gradient(next(loader))
                grads = [parameter.grad for parameter in trainer.student.parameters()]
                found.append([grad.clone() for grad in grads if grad is not None])
        gradients[config.optim.accumulate] = found
    first, second = gradients[1]
    halves, means = gradients[2]
    assert all(torch.equal(half, grad / 2) for half, grad in zip(halves, first, strict=True))
    for mean, one, other in zip(means, first, second, strict=True):
        torch.testing.assert_close(mean, (one + other) / 2, rtol=1e-4, atol=1e-6)


def test_a_run_that_accumulates_draws_as_many_batches_a_step_and_resumes_exactly(
    run_config: Make, tmp_path: Path
) -> None:
    base = run_config()
    changes = {
        "optim": replace(base.optim, accumulate=2),
        "thresholds": ThresholdConfig(policy="prior", every=2),
        "steps": 6,
    }
    state = whole_and_resumed(run_config, tmp_path, stop=3, **changes)
    assert state["step"] == 6
    assert state["ranks"][0]["loader"]["step"] == 12
    whole = tmp_path / "whole"
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["num_steps"]) for row in rows] == [(2, 2), (4, 2), (6, 2)]
    assert rows[0]["skipped_burn_in_steps"] == 2
    assert rows[1]["threshold_0"] != rows[2]["threshold_0"]  # from the four batches of two steps
    labels = LabelStore(str(whole / "online_labels")).read("step-000000004")
    assert len(labels) == 8
    assert set(labels["step"].to_pylist()) == {3}


def test_the_best_scorings_weights_are_kept_and_a_run_without_gain_ends(
    run_config: Make, drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = run_config()
    config = run_config(
        steps=40,
        data=replace(base.data, test=str(drawn / "labeled")),
        log=replace(base.log, checkpoint=5, evaluate=2, patience=2, metrics=0, online_labels=0),
        optim=replace(base.optim, lr=1e-9),  # nothing is learned, so nothing gains after the first scoring
    )
    assert train(config) == 0
    said = capsys.readouterr().err
    best = Path(config.out) / "best.pt"
    assert "ended at step 6 of 40: 2 scorings without a gain since step 2 (--log.patience 2)" in said
    assert re.search(r"best: step 2, labeled AP \d+\.\d \(teacher\): " + str(best), said.splitlines()[-1])
    assert checkpoint.steps(Path(config.out) / "checkpoints") == [5, 6]
    trained = open_trained(str(best), weights="teacher", device=torch.device("cpu"))
    assert (trained.step, trained.run.root) == (2, Path(config.out))

    before = best.read_bytes()
    assert train(replace(config, resume=True)) == 0  # over already
    assert "ended at step 6 of 40" in capsys.readouterr().err
    assert final_state(config)["step"] == 6
    patient = replace(config, resume=True, log=replace(config.log, patience=3))
    assert train(patient) == 0
    assert "ended at step 8 of 40: 3 scorings without a gain since step 2" in capsys.readouterr().err
    assert best.read_bytes() == before


def test_patience_without_scorings_is_refused(run_config: Make) -> None:
    with pytest.raises(ConfigError, match=r"--log\.patience 3 counts scorings .* it needs --data\.test"):
        run_config(log=replace(run_config().log, patience=3))


def test_only_a_higher_figure_is_the_best() -> None:
    scorings = Scorings()
    for step, ap in ((2, math.nan), (4, 10.0), (6, 10.0), (8, 9.0), (10, 11.0), (12, math.nan)):
        scorings.add(step, ap)
    assert (scorings.best_step, scorings.best, scorings.since) == (10, 11.0, {12})
