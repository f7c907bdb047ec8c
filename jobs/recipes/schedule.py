"""The learning-rate schedule of a run.

In: a run's configuration, where `optim.cosine_steps` may be None. Out: the configuration with a number there, and
the `Schedule`. Guaranteed: the number that a run was begun with stands in its `config.json`, so that more `--steps`
on a resume change no learning rate of the steps that were asked for before.
"""

from __future__ import annotations

import dataclasses

from jobs.recipes.model_errors import answer_model_errors
from jobs.recipes.train_config import TrainConfig
from model.method.schedule import Schedule


@answer_model_errors()
def resolve_schedule(config: TrainConfig) -> TrainConfig:
    """Return the configuration with the end of its cosine as a number; other schedules have none.

    Raises ConfigError for a schedule that cannot be.
    """
    optim = config.optim
    if optim.schedule == "cosine" and optim.cosine_steps is None:
        config = dataclasses.replace(config, optim=dataclasses.replace(optim, cosine_steps=config.steps))
    schedule_of(config)
    return config


def schedule_of(config: TrainConfig) -> Schedule:
    """Return the learning rate of every step. Raises ModelError for numbers that cannot be."""
    optim = config.optim
    return Schedule(
        name=optim.schedule,
        warmup_steps=optim.warmup_steps,
        warmup_start=optim.warmup_start,
        milestones=optim.milestones,
        decay=optim.decay,
        last_step=optim.cosine_steps,
        end=optim.end,
    )
