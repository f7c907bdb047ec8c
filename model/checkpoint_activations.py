"""Activation checkpoints: a backbone computes its activations again in the backward pass instead of keeping them.

In: a detector. Out: the same one; of each stage of its backbone only the input is kept for the backward pass, which
runs the stage once more. Guaranteed: losses and gradients are the same to the bit on a CPU; names of the state dict
stay; a live batch-norm takes the statistics of a batch once. Source: Chen et al., arXiv 1604.06174.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from model.detector import Detector
from model.errors import ModelError


def checkpoint_activations(detector: Detector) -> list[str]:
    """Have the stages of the backbone run again in the backward pass; return their names.

    A copy of the detector that is made later would run this one's stages: make the teacher before.

    Raises ModelError where the backbone has no stages, which are sequences of modules (`nn.Sequential`).
    """
    stages = dict(backbone_stages(detector))
    if not stages:
        raise ModelError(
            f"expected a backbone of stages (nn.Sequential) to checkpoint, got none in {type(detector).__name__}; "
            "leave --model.checkpoint-activations out"
        )
    for stage in stages.values():
        stage.forward = partial(_run_again_later, stage, stage.forward)
    return list(stages)


def backbone_stages(detector: Detector) -> Iterator[tuple[str, nn.Module]]:
    """Return the outermost sequences of the backbone that learn, with their names."""
    groups = detector.parameter_groups()
    backbone = {id(p) for group in groups if group.name == "backbone" for p in group.parameters}
    taken: list[str] = []
    for name, module in detector.named_modules():
        parameters = list(module.parameters())
        is_stage = isinstance(module, nn.Sequential) and any(p.requires_grad for p in parameters)
        inside = any(name.startswith(f"{outer}.") for outer in taken)
        if is_stage and not inside and all(id(p) in backbone for p in parameters):
            taken.append(name)
            yield name, module


def _run_again_later(stage: nn.Module, forward: Callable[..., Any], *inputs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs)
    return checkpoint(
        forward,
        *inputs,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), _still_norms(stage)),
    )


@contextlib.contextmanager
def _still_norms(stage: nn.Module) -> Iterator[None]:
    """Let live batch-norms of a stage normalise by the batch as before, and take no statistics of it again."""
    norms = [module for module in stage.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None  # statistics keep all that they hold
    try:
        yield
    finally:
        for norm, (momentum, num_batches) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, num_batches
