"""What is known of a detector before it is built.

In: nothing; values that each family of detectors fills. Out: `DetectorSpec`, and the names that a configuration may
hold. No family is imported here, so that a family can.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from model.detector import Detector, InputSpec

TorchvisionName = Literal[
    "fasterrcnn-resnet50", "fasterrcnn-v2-resnet50", "fcos-resnet50", "retinanet-resnet50"
]
HuggingFaceName = Literal[
    "rtdetr",
    "rtdetr-v2",
    "dfine",
    "deimv2",
    "deformable-detr",
    "detr",
    "conditional-detr",
    "dab-detr",
    "rf-detr",
    "lw-detr",
]
DetectorName = Literal["fcos-compact", TorchvisionName, "dino-resnet50", HuggingFaceName]

Norm = Literal["frozen", "live"]
"""frozen: batch-norm is a constant scale and shift. live: it learns and follows the batches."""

Size = Literal["standard", "compact"]
"""standard: as published. compact: narrower, for small data, CPUs and tests."""


def imagenet_input(_backbone: str | None, _weights: str) -> InputSpec:
    """Return the input that most detectors take, whatever the weights."""
    return InputSpec()


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorSpec:
    """What is known of a detector before it is built."""

    build: Callable[..., Detector]
    """Takes num_classes, weights, backbone, norm, size and min_score; gives the detector with the weights in it, on
    the CPU, in train mode. Draws from torch's global generator."""
    score_threshold: float
    """The score above which its pseudo labels count, unless a run says otherwise."""
    input: Callable[[str | None, str], InputSpec] = imagenet_input
    """Takes backbone and weights, as `build` does; opens no file but that of the weights."""
    weights: tuple[str, ...] = ("none",)
    """Weights that exist by name; where there are more than none, a file's path is taken too."""
    backbone: str | None = None
    """The backbone it has unless another is asked for; None for one of its own that cannot be changed."""
    norm: Norm | None = None
    """How batch-norm is kept unless asked otherwise; None where there is none to choose."""
    norm_from_scratch: Norm | None = None
    """The same where no weights are loaded; None is `norm`."""
