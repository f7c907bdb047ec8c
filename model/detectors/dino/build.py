"""DINO, built with weights in it.

Weights: a classifier's for the backbone; a state dict of ours, or one with the published names (`published_names`),
for all. The published recipe: adamw, lr 1e-4, weight decay 1e-4 on everything, backbone x 0.1, gradient clipped at
0.1.
"""

from __future__ import annotations

from torch import Tensor
from torchvision.models import get_model_weights

from model.detectors.dino.detector import DINODetector
from model.detectors.dino.network import COMPACT, Dimensions, DINONetwork
from model.detectors.dino.published_names import from_published, has_published_names
from model.detectors.spec import Norm, Size
from model.detectors.torchvision.backbone import build_stages
from model.detectors.torchvision.weights import fetch, read
from model.errors import WeightsError

_BY_CLASS = ("decoder.class_heads.", "selection.class_head.", "denoising.class_embedding.")
"""Beginnings of the names of weights whose shape goes by the number of classes."""


def build_dino(
    *, num_classes: int, weights: str, backbone: str, norm: Norm, size: Size, min_score: float
) -> DINODetector:
    """Return the detector with these weights, on the CPU, in train mode."""
    dimensions = COMPACT if size == "compact" else Dimensions()
    network = build_network(backbone, num_classes=num_classes, dimensions=dimensions, norm=norm)
    if weights != "none":
        load_weights(network, weights, backbone)
    return DINODetector(network, num_classes=num_classes, min_score=min_score)


def build_network(
    backbone: str, *, num_classes: int, dimensions: Dimensions, norm: Norm = "frozen"
) -> DINONetwork:
    """Return the network on a backbone by name, drawn from torch's global generator."""
    stages, channels = build_stages(backbone, norm=norm)
    return DINONetwork(stages, channels, num_classes=num_classes, dimensions=dimensions)


def load_weights(network: DINONetwork, weights: str, backbone: str) -> None:
    """Load `weights` (imagenet or the path of a state dict). Raises WeightsError for what cannot be had or fit."""
    state = _read(weights, backbone)
    if "conv1.weight" in state:
        body = {
            f"levels.backbone.{name}": value for name, value in state.items() if not name.startswith("fc.")
        }
        state = {**network.state_dict(), **body}
    elif has_published_names(state):
        state = from_published(state)
    _load(network, state, weights)


def _read(weights: str, backbone: str) -> dict[str, Tensor]:
    if weights == "imagenet":
        return fetch(get_model_weights(backbone)["IMAGENET1K_V1"], weights)
    return read(weights)


def _load(network: DINONetwork, state: dict[str, Tensor], source: str) -> None:
    """Load a whole state dict; what goes by the classes stays as drawn where the number of classes differs."""
    drawn = {name: value for name, value in network.state_dict().items() if name.startswith(_BY_CLASS)}
    if missing := sorted(drawn.keys() - state.keys()):
        raise WeightsError(
            f"{source}: expected a state dict of DINO, or of its backbone, got no {missing[0]}: pass "
            "--model.weights imagenet, none or another file"
        )
    fits = all(state[name].shape == value.shape for name, value in drawn.items())
    try:
        network.load_state_dict(state if fits else {**state, **drawn})
    except RuntimeError as error:
        raise WeightsError(f"{source}: the weights do not fit this network: {error}") from error
