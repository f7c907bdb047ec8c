"""The narrow adapter that every detector stands behind: losses, detections and candidates, tensors only.

In: a batch of images, normalised, resized and padded as its `InputSpec` says (zeros at the right and bottom), the
valid size of each, and (for losses and candidates) one `Target` an image. Out: a dict of scalar loss parts whose
sum is the loss, one `Detections` an image, or one `Candidates` an image. Guaranteed: images without boxes and any
number of images work; loss arithmetic and NMS run in float32 under autocast; `predict` computes no gradient, runs
in eval mode and gives the former mode back.

Shapes: B images, C channels, H x W padded size, N boxes, A candidates (anchors, locations, proposals or queries),
K columns of logits. Boxes are xyxy, float32, pixels of the view at hand.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

MIN_SIDE = 0.01
"""Boxes no wider or no higher than this many pixels are degenerate: neither trained on nor predicted."""


Resize = Literal["short_side", "square"]
"""short_side: a view has the sides' ratio of its image. square: all views of a detector are squares."""

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True, kw_only=True, slots=True)
class InputSpec:
    """What the images of a detector must be like."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Of red, green and blue, subtracted by normalisation, 0-255 scale."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Divided by, 0-255 scale."""
    pad_multiple: int = 32
    """Height and width of a batch are multiples of this many pixels."""
    resize: Resize = "short_side"


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterGroup:
    """Parameters that learn at one rate; several groups may have the same name."""

    name: str
    """backbone: what a recipe may give a smaller learning rate, on top of `lr_factor`."""
    parameters: Sequence[nn.Parameter]
    lr_factor: float = 1.0
    """On the learning rate of the run."""
    decay_factor: float = 1.0
    """On the weight decay of the run."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Target:
    """What a detector is to find in one image."""

    boxes_N4: Tensor
    """float32 xyxy, pixels of the view."""
    categories_N: Tensor
    """int64, 0 .. num_classes - 1."""

    def to(self, device: torch.device) -> Target:
        """Return the same target on `device`."""
        return Target(boxes_N4=self.boxes_N4.to(device), categories_N=self.categories_N.to(device))

    def without_degenerate(self) -> Target:
        """Return the target without boxes whose width or height is at most `MIN_SIDE`."""
        keep_N = has_area(self.boxes_N4)
        return Target(boxes_N4=self.boxes_N4[keep_N], categories_N=self.categories_N[keep_N])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Detections:
    """What a detector found in one image, best score first."""

    boxes_N4: Tensor
    """float32 xyxy, pixels of the view, inside its valid size."""
    categories_N: Tensor
    """int64, 0 .. num_classes - 1."""
    scores_N: Tensor
    """float32 in 0 .. 1."""

    def __len__(self) -> int:
        return len(self.scores_N)

    def to(self, device: torch.device) -> Detections:
        """Return the same detections on `device`."""
        return Detections(
            boxes_N4=self.boxes_N4.to(device),
            categories_N=self.categories_N.to(device),
            scores_N=self.scores_N.to(device),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Candidates:
    """What a detector said of every anchor, location, proposal or query of one image, and what each was to be."""

    logits_AK: Tensor
    """float32; column k is of class k. Where the detector has a background class, it is the last column."""
    classes_A: Tensor
    """int64: the class that the loss asks for, 0 .. num_classes - 1; num_classes for background, -1 for ignored."""
    boxes_A4: Tensor
    """float32 xyxy, pixels of the view: the box that it predicted, not clipped to the image. Where every class has
    a box of its own, that of the class with the largest logit, background aside."""
    activation: Literal["sigmoid", "softmax"]
    """What makes scores of the logits."""


Sizes = Sequence[tuple[int, int]]
"""(height, width) in pixels of the valid area of each image of a batch."""


class Detector(nn.Module, ABC):
    """A detector that learns from targets and predicts detections."""

    num_classes: int
    pad_multiple: int = 32
    """Height and width of a batch must be multiples of this many pixels."""
    exports_to_onnx: bool = True
    """Whether torch is asked for a graph of it: where it has none to give, it takes minutes to say so."""
    max_detections: int = 100
    """Most detections of an image."""

    @abstractmethod
    def losses(self, images_BCHW: Tensor, sizes_B2: Sizes, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the scalar float32 parts of the loss of a batch; their sum is the loss."""

    @abstractmethod
    def detect(self, images_BCHW: Tensor, sizes_B2: Sizes) -> list[Detections]:
        """Return the detections of every image; called by `predict` in eval mode without gradients."""

    @abstractmethod
    def candidates(self, images_BCHW: Tensor, sizes_B2: Sizes, targets: Sequence[Target]) -> list[Candidates]:
        """Return what was said of every candidate of each image and what it was to be, for analysis.

        Matched and sampled by the code that makes the loss, in train mode: live batch-norm follows these images
        too, and a detector that samples draws from torch's global generator as `losses` does.
        """

    @abstractmethod
    def parameter_groups(self) -> list[ParameterGroup]:
        """Return groups that together hold every parameter once."""

    def forward(self, images_BCHW: Tensor, sizes_B2: Sizes, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return `losses`, so that wrappers around a module's call (DDP, compile) wrap training."""
        return self.losses(images_BCHW, sizes_B2, targets)

    @torch.no_grad()
    def predict(self, images_BCHW: Tensor, sizes_B2: Sizes) -> list[Detections]:
        """Return the detections of every image after NMS, scores of at least the detector's minimum."""
        was_training = self.training
        self.eval()
        try:
            return self.detect(images_BCHW, sizes_B2)
        finally:
            self.train(was_training)


def has_area(boxes_N4: Tensor) -> Tensor:
    """Return a mask of the boxes whose sides are both above `MIN_SIDE` pixels; False where one is NaN."""
    return ((boxes_N4[:, 2:] - boxes_N4[:, :2]) > MIN_SIDE).all(dim=1)


def split_parameters(detector: nn.Module, backbone: nn.Module) -> list[ParameterGroup]:
    """Return two groups, `backbone` and the rest, both with the learning rate and weight decay of the run."""
    parameters = list(backbone.parameters())
    in_backbone = {id(parameter) for parameter in parameters}
    rest = [parameter for parameter in detector.parameters() if id(parameter) not in in_backbone]
    return [
        ParameterGroup(name="backbone", parameters=parameters),
        ParameterGroup(name="rest", parameters=rest),
    ]


def require_matching(
    images_BCHW: Tensor,
    sizes_B2: Sizes,
    targets: Sequence[Target] | None = None,
    *,
    pad_multiple: int = 32,
) -> None:
    """Raise ValueError unless sizes, and targets where given, count and fit the images."""
    if torch.compiler.is_exporting():  # of a graph for other runtimes, where sizes are values of the graph
        return
    num_images, _, height, width = images_BCHW.shape
    if len(sizes_B2) != num_images or (targets is not None and len(targets) != num_images):
        raise ValueError(
            f"expected one size and one target an image, got {num_images} images, {len(sizes_B2)} sizes"
            + ("" if targets is None else f", {len(targets)} targets")
        )
    if height % pad_multiple or width % pad_multiple:
        raise ValueError(
            f"expected images padded to a multiple of {pad_multiple}, got {height} x {width}: "
            "pad with zeros at right and bottom"
        )
    for index, (valid_height, valid_width) in enumerate(sizes_B2):
        if not (0 < valid_height <= height and 0 < valid_width <= width):
            raise ValueError(
                f"expected the valid size of image {index} within the padded {height} x {width}, "
                f"got {valid_height} x {valid_width}: sizes are (height, width)"
            )
