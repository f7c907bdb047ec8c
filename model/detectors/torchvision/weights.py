"""Pretrained weights for the detectors of torchvision, fetched by its own loader or read from a file.

In: a detector of torchvision, the name of weights and what torchvision published for it. Out: the same detector
with the weights in it. Guaranteed: everything but the predictor of classes (which differ) is loaded strictly; what
cannot be had is a WeightsError that says what was tried and what else can be passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models import get_model_weights

from model.detectors import timm_backbone
from model.errors import TorchFileError, WeightsError
from model.weights.state_file import read_state_file

FROZEN_NORM_EPS = 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedWeights:
    """What torchvision published for a detector."""

    coco: Any
    """A member of torchvision's enumeration of weights, for a ResNet-50."""
    predictor: str
    """Beginning of the names of parameters whose shape goes by the number of classes."""
    zero_eps: bool = False
    """Whether they were made with a batch-norm of eps 0."""


def load_pretrained(network: Any, weights: str, *, backbone: str, published: PublishedWeights) -> None:
    """Load `weights` (imagenet, coco or a state dict's file) into a detector of torchvision."""
    match weights:
        case "imagenet" | timm_backbone.LITE0_PACKAGE if backbone.startswith(timm_backbone.PREFIX):
            features = network.backbone.body.features
            _load(features, timm_backbone.timm_state(backbone, weights, features), f"{weights} of {backbone}")
        case timm_backbone.LITE0_PACKAGE:
            raise WeightsError(
                f"{weights} has weights of {timm_backbone.LITE0}, got --model.backbone {backbone}: pass that one"
            )
        case "imagenet":
            load_backbone(network, fetch(get_model_weights(backbone)["IMAGENET1K_V1"], weights), backbone)
        case "coco":
            if backbone != "resnet50":
                raise WeightsError(
                    f"torchvision has COCO weights of this detector for resnet50, got --model.backbone {backbone}: "
                    "leave it out, or start from --model.weights imagenet"
                )
            state = fetch(published.coco, weights)
            state = without_zero_eps(state) if published.zero_eps else state
            load_detector(network, state, weights, published.predictor)
        case _:
            state = read(weights)
            if "conv1.weight" in state or "conv_stem.weight" in state:
                load_backbone(network, state, backbone)
            else:
                load_detector(network, state, weights, published.predictor)


def fetch(weights: Any, name: str) -> dict[str, Tensor]:
    """Return the state dict of torchvision's published weights, from its cache or its server."""
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, no such host, a broken download
        raise WeightsError(
            f"could not get the weights {name!r}: torchvision tried {weights.url} and its cache "
            f"{torch.hub.get_dir()}/checkpoints ({type(error).__name__}: {error}). Train from scratch with "
            "`--model.weights none`, or download the file elsewhere and pass its path: "
            "`--model.weights FILE`"
        ) from error
    return state


def read(path: str) -> dict[str, Tensor]:
    """Return the state dict in a file."""
    if not Path(path).is_file():
        raise WeightsError(
            f"expected weights none, imagenet, coco or the path of a torchvision state dict, got {path!r}: "
            "no such file"
        )
    try:
        with Path(path).open("rb") as file:
            return read_state_file(file, Path(path)).state
    except TorchFileError as error:
        raise WeightsError(
            f"{path}: not a file of plain tensors by torch.save or safetensors: {error}"
        ) from error


def load_backbone(network: Any, state: Mapping[str, Tensor], backbone: str) -> None:
    """Load a classifier into the backbone, without its last layer."""
    body = network.backbone.body
    if backbone.startswith(timm_backbone.PREFIX):
        body = body.features
        wanted = {name: tensor for name, tensor in state.items() if name in body.state_dict()}
    else:
        wanted = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    _load(body, wanted, f"a classifier {backbone}")


def load_detector(network: Any, state: Mapping[str, Tensor], source: str, predictor: str) -> None:
    """Load a whole detector; its predictor of classes only where it predicts as many."""
    drawn = {name: value for name, value in network.state_dict().items() if name.startswith(predictor)}
    if missing := sorted(drawn.keys() - state.keys()):
        raise WeightsError(
            f"{source}: expected a state dict of the same detector, or of its backbone, got no {missing[0]}"
        )
    fits = all(state[name].shape == value.shape for name, value in drawn.items())
    _load(network, state if fits else {**state, **drawn}, source)


def _load(module: torch.nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{source}: the weights do not fit this network: {error}") from error


def without_zero_eps(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return torchvision's COCO weights for a batch-norm of eps 1e-5.

    They were made with eps 0, which torchvision sets when it loads them and a plain state dict cannot carry:
    weight x sqrt((var + eps) / var) under eps is weight under 0.
    """
    changed = dict(state)
    for name, variance in state.items():
        if name.endswith("running_var"):
            weight = name.removesuffix("running_var") + "weight"
            ratio = (variance.double() + FROZEN_NORM_EPS) / variance.double()
            changed[weight] = (state[weight].double() * ratio.sqrt()).float()
    return changed
