"""Pretrained weights for Faster R-CNN, fetched by torchvision's own loader or read from a file.

In: a torchvision Faster R-CNN with frozen batch-norm and the name of weights. Out: the same network with the
weights in it. Guaranteed: everything but the box predictor (whose classes differ) is loaded strictly; what
cannot be had is a WeightsError that says what was tried and what else can be passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models import ResNet50_Weights
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from model.errors import TorchFileError, WeightsError
from model.torch_file import load_torch_file

PREDICTOR = "roi_heads.box_predictor."
FROZEN_NORM_EPS = 1e-5


def load_pretrained(network: Any, weights: str) -> None:
    """Load `weights` (imagenet, coco or a state dict's file) into a torchvision Faster R-CNN."""
    match weights:
        case "imagenet":
            load_backbone(network, fetch(ResNet50_Weights.IMAGENET1K_V1, weights))
        case "coco":
            state = fetch(FasterRCNN_ResNet50_FPN_Weights.COCO_V1, weights)
            load_detector(network, without_zero_eps(state), weights)
        case _:
            state = read(weights)
            if "conv1.weight" in state:
                load_backbone(network, state)
            else:
                load_detector(network, state, weights)


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
            state = load_torch_file(file)
    except TorchFileError as error:
        raise WeightsError(f"{path}: not a file of plain tensors written by torch.save: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path}: expected a state dict (names to tensors), got {type(state).__name__}")
    return state


def load_backbone(network: Any, state: Mapping[str, Tensor]) -> None:
    """Load a ResNet-50 classifier into the backbone, without its last layer."""
    wanted = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    _load(network.backbone.body, wanted, "a ResNet-50 classifier")


def load_detector(network: Any, state: Mapping[str, Tensor], source: str) -> None:
    """Load a whole Faster R-CNN; its box predictor only where it predicts as many classes."""
    name = PREDICTOR + "cls_score.weight"
    own: dict[str, Tensor] = network.state_dict()
    if name not in state:
        raise WeightsError(f"{source}: expected a torchvision Faster R-CNN or ResNet-50, got no {name}")
    if state[name].shape == own[name].shape:
        _load(network, state, source)
        return
    kept = {key: tensor for key, tensor in own.items() if key.startswith(PREDICTOR)}
    _load(network, {**state, **kept}, source)


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
