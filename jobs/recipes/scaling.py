"""A published recipe on another number of GPUs: the one place of the scaling rule.

In: a configuration for `PUBLISHED_GPUS` processes, and how many there are. Out: the same for those. With
k = images a step now / images a step then, here the ratio of the processes, as each keeps its images a step:

| what | becomes | so that |
|---|---|---|
| steps, burn-in, warm-up, milestones and intervals | x 1 / k | the same images are seen between two events |
| learning rate of SGD | x k | the same way is gone an image (Goyal et al., arXiv 1706.02677) |
| learning rate of AdamW | x sqrt(k) | noise and drift keep their ratio (Malladi et al., arXiv 2205.10287) |
| weight decay of AdamW | x sqrt(k) | lr x decay x steps, the whole decay of a run, stays |
| the teacher's share m of step i | 1 - (1 - m)^k, m of step k i | it forgets as much an image (arXiv 2307.13813) |

The last is `teacher.reference_batch`, set to the published number of labeled images. The clipping of the gradient
stays: its norm is that of a mean over images.
"""

from __future__ import annotations

import math
from dataclasses import replace

from jobs.recipes.train_config import OptimConfig, TrainConfig
from storage.errors import ConfigError

PUBLISHED_GPUS = 8


def for_gpus(config: TrainConfig, gpus: int) -> TrainConfig:
    """Return a published recipe for this many processes of one GPU each. Raises ConfigError for none."""
    if gpus < 1:
        raise ConfigError(f"expected a recipe for 1 GPU or more, got {gpus}")
    if gpus == PUBLISHED_GPUS:
        return config
    k = gpus / PUBLISHED_GPUS
    log = config.log
    return replace(
        config,
        steps=round(config.steps / k),
        burn_in=round(config.burn_in / k),
        optim=_scaled_optimizer(config.optim, k),
        teacher=replace(config.teacher, reference_batch=PUBLISHED_GPUS * config.data.batch_labeled),
        thresholds=replace(config.thresholds, every=max(1, round(config.thresholds.every / k))),
        resampling=replace(config.resampling, every=round(config.resampling.every / k)),
        log=replace(log, checkpoint=round(log.checkpoint / k), evaluate=round(log.evaluate / k)),
    )


def _scaled_optimizer(optim: OptimConfig, k: float) -> OptimConfig:
    rate, decay = (k, 1.0) if optim.name == "sgd" else (math.sqrt(k), math.sqrt(k))
    return replace(
        optim,
        lr=optim.lr * rate,
        weight_decay=optim.weight_decay * decay,
        warmup_steps=round(optim.warmup_steps / k),
        milestones=tuple(round(step / k) for step in optim.milestones),
    )
