"""The detectors of the DETR family by name: what is known of each, and how it is built with weights in it.

Weights: none; imagenet (the backbone's, by timm's own loader), or those of EfficientNet-Lite0 from its package;
coco (the published detector, by the library's own loader, from its cache or its server); a folder that
`save_pretrained` wrote; another detector's id on the hub; a file of a state dict. Batch-norm is kept as published
where weights come with its statistics, and live from scratch.

The score threshold is 0.4, RetinaNet's in MixPL (arXiv 2312.07006): both learn sigmoid scores by a focal loss, or
by its children that aim at the IoU. In DETR's softmax the classes of a query contend with the background, and what
is found scores high: its own demonstration keeps scores above 0.7, which is the threshold here. Both are where to
start from, not measured.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from model.detector import InputSpec
from model.detectors.huggingface.adapter import HuggingFaceDetector
from model.detectors.huggingface.family import Family, family_of
from model.detectors.huggingface.network import build_network
from model.detectors.huggingface.weights import load_network, load_weights, names_a_network
from model.detectors.spec import DetectorSpec, HuggingFaceName, Norm, Size
from model.detectors.timm_backbone import LITE0, LITE0_PACKAGE, PREFIX, timm_input
from model.errors import ModelError

SIGMOID_THRESHOLD = 0.4
SOFTMAX_THRESHOLD = 0.7
PUBLISHED_BACKBONE = "published"
"""Stands for the backbone that each detector was published with, which no other library has a name for."""


def huggingface_spec(name: HuggingFaceName) -> DetectorSpec:
    """Return what is known of a detector of the family."""
    family = family_of(name)
    own = family.backbone == "own"
    return DetectorSpec(
        build=partial(_build, name, family),
        score_threshold=SOFTMAX_THRESHOLD if family.activation == "softmax" else SIGMOID_THRESHOLD,
        input=partial(_input, family),
        weights=("none", "coco") if own else ("none", "imagenet", "coco", LITE0_PACKAGE),
        backbone=None if own else PUBLISHED_BACKBONE,
        norm=None if own else family.norm,
        norm_from_scratch=None if own else "live",
    )


def _build(
    name: HuggingFaceName,
    family: Family,
    *,
    num_classes: int,
    weights: str,
    backbone: str | None,
    norm: Norm | None,
    size: Size,
    min_score: float,
) -> HuggingFaceDetector:
    if weights == "imagenet" and size == "compact" and backbone == PUBLISHED_BACKBONE:
        raise ModelError(
            f"{name} in size compact has no published backbone whose ImageNet weights and input are known: pass "
            f"--model.backbone {LITE0}, say"
        )
    asked = None if backbone == PUBLISHED_BACKBONE else backbone
    if names_a_network(weights):
        network = load_network(name, weights, num_classes=num_classes, size=size, backbone=asked, norm=norm)
    else:
        network = build_network(name, num_classes=num_classes, size=size, backbone=asked, norm=norm)
        if weights != "none":
            load_weights(network, weights)
    return HuggingFaceDetector(network, family=family, num_classes=num_classes, min_score=min_score)


def _input(family: Family, backbone: str | None, weights: str) -> InputSpec:
    """Return the family's input; where only a backbone of timm brings weights, its images are normalised for it."""
    named = backbone not in (None, PUBLISHED_BACKBONE)
    if weights != LITE0_PACKAGE and not (weights == "imagenet" and named):
        return family.input
    of_backbone = timm_input(f"{PREFIX}{(backbone or '').removeprefix(PREFIX)}", weights)
    return replace(family.input, mean=of_backbone.mean, std=of_backbone.std)
