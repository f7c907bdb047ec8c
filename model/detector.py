"""The narrow adapter that every detector stands behind: two methods, tensors only.

In: a batch of normalised images, padded with zeros at the right and bottom to a multiple of 32, the valid
size of each, and (for losses) one `Target` an image. Out: a dict of scalar loss parts whose sum is the loss,
or one `Detections` an image. Guaranteed: images without boxes and any number of images work; loss arithmetic
and NMS run in float32 under autocast; `predict` computes no gradient, runs in eval mode and gives the former
mode back.

Shapes: B images, C channels, H x W padded size, N boxes. Boxes are xyxy, float32, pixels of the view at hand.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

MIN_SIDE = 0.01
"""Boxes no wider or no higher than this many pixels are degenerate: neither trained on nor predicted."""


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


Sizes = Sequence[tuple[int, int]]
"""(height, width) in pixels of the valid area of each image of a batch."""


class Detector(nn.Module, ABC):
    """A detector that learns from targets and predicts detections."""

    num_classes: int

    @abstractmethod
    def losses(self, images_BCHW: Tensor, sizes_B2: Sizes, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the scalar float32 parts of the loss of a batch; their sum is the loss."""

    @abstractmethod
    def detect(self, images_BCHW: Tensor, sizes_B2: Sizes) -> list[Detections]:
        """Return the detections of every image; called by `predict` in eval mode without gradients."""

    @abstractmethod
    def backbone_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters that a recipe may give a smaller learning rate."""

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


def require_matching(images_BCHW: Tensor, sizes_B2: Sizes, targets: Sequence[Target] | None = None) -> None:
    """Raise ValueError unless sizes, and targets where given, count and fit the images."""
    num_images, _, height, width = images_BCHW.shape
    if len(sizes_B2) != num_images or (targets is not None and len(targets) != num_images):
        raise ValueError(
            f"expected one size and one target an image, got {num_images} images, {len(sizes_B2)} sizes"
            + ("" if targets is None else f", {len(targets)} targets")
        )
    if height % 32 or width % 32:
        raise ValueError(
            f"expected images padded to a multiple of 32, got {height} x {width}: "
            "pad with zeros at right and bottom"
        )
    for index, (valid_height, valid_width) in enumerate(sizes_B2):
        if not (0 < valid_height <= height and 0 < valid_width <= width):
            raise ValueError(
                f"expected the valid size of image {index} within the padded {height} x {width}, "
                f"got {valid_height} x {valid_width}: sizes are (height, width)"
            )
