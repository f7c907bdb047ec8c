"""Options that change what a step does: each run ends, stopped and resumed, as one that never stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.recipes.train_config import TrainConfig
from jobs.run import checkpoint
from jobs.train import train
from storage.errors import ConfigError
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
