"""Names to detectors.

In: the name of a detector, the number of classes and what a run asks of it. Out: `DetectorSpec`, what is known of
it before it is built; `InputSpec`, what its images must be like; the detector itself, on the CPU, in train mode.
"""

from __future__ import annotations

import difflib
from typing import get_args

import torch

from model.detector import Detector, InputSpec
from model.detectors.compact_fcos.detector import CompactFCOS
from model.detectors.dino.spec import dino_spec
from model.detectors.huggingface.spec import huggingface_spec
from model.detectors.spec import DetectorName, DetectorSpec, Norm, Size
from model.detectors.torchvision.spec import torchvision_spec
from model.errors import ModelError


def spec_of(name: DetectorName) -> DetectorSpec:
    """Return what is known of a detector. Raises ModelError for an unknown name."""
    match name:
        case "fcos-compact":  # its threshold is what worked on drawn data
            return DetectorSpec(build=_compact_fcos, score_threshold=0.5)
        case "fasterrcnn-resnet50" | "fasterrcnn-v2-resnet50" | "fcos-resnet50" | "retinanet-resnet50":
            return torchvision_spec(name)
        case "dino-resnet50":
            return dino_spec()
        case (
            "rtdetr"
            | "rtdetr-v2"
            | "dfine"
            | "deimv2"
            | "deformable-detr"
            | "detr"
            | "conditional-detr"
            | "dab-detr"
            | "rf-detr"
            | "lw-detr"
        ):
            return huggingface_spec(name)
        case _:
            raise ModelError(_unknown(name))


def input_spec(name: DetectorName, *, backbone: str | None = None, weights: str = "none") -> InputSpec:
    """Return what the images of a detector must be like when it is built with this backbone and these weights."""
    return spec_of(name).input(backbone, weights)


def norm_of(name: DetectorName, *, weights: str, norm: Norm | None = None) -> Norm | None:
    """Return how batch-norm is kept: as asked, or else as the detector has it with these weights.

    None where there is no batch-norm to choose. Raises ModelError for an unknown name.
    """
    spec = spec_of(name)
    return norm or (spec.norm_from_scratch if weights == "none" else None) or spec.norm


def build_detector(
    name: DetectorName,
    *,
    num_classes: int,
    weights: str = "none",
    backbone: str | None = None,
    norm: Norm | None = None,
    size: Size = "standard",
    seed: int | None = None,
    min_score: float = 0.05,
) -> Detector:
    """Return a new detector.

    `weights`: one of the spec's, or the path of a file. `backbone`, `norm`: None is the spec's. `seed`: draw the
    weights from this seed and leave torch's global generator as it was; None draws from the global generator.
    Raises ModelError for an unknown name and what the detector cannot be asked for, and its child WeightsError for
    weights that cannot be had.
    """
    if num_classes < 1:
        raise ModelError(f"expected at least one class, got num_classes {num_classes}")
    spec = spec_of(name)
    _require_choices(name, spec, weights=weights, backbone=backbone, norm=norm)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        return spec.build(
            num_classes=num_classes,
            weights=weights,
            backbone=backbone or spec.backbone,
            norm=norm_of(name, weights=weights, norm=norm),
            size=size,
            min_score=min_score,
        )


def _compact_fcos(*, num_classes: int, min_score: float, **_choices: object) -> Detector:
    """Return the detector that has one size, one backbone and no batch-norm."""
    return CompactFCOS(num_classes=num_classes, min_score=min_score)


def _require_choices(
    name: DetectorName, spec: DetectorSpec, *, weights: str, backbone: str | None, norm: Norm | None
) -> None:
    """Raise ModelError for weights, a backbone or a norm that this detector has not."""
    if weights != "none" and spec.weights == ("none",):
        raise ModelError(f"{name} trains from scratch, got weights {weights!r}: pass --model.weights none")
    if backbone is not None and spec.backbone is None:
        raise ModelError(f"{name} has a backbone of its own, got {backbone!r}: leave --model.backbone out")
    if norm is not None and spec.norm is None:
        raise ModelError(f"{name} has no batch-norm to choose, got {norm!r}: leave --model.norm out")


def _unknown(name: str) -> str:
    names = get_args(DetectorName)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f": did you mean {close[0]}?" if close else ""
    return f"expected a detector of {', '.join(names)}, got {name!r}{hint}"
