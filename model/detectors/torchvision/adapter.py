"""What the detectors of torchvision have in common behind the detector adapter.

In and out: as `model.detector.Detector` says; the class 0 that torchvision keeps for background is added and taken
away here, in the one-stage detectors too, as its own COCO weights have it. Images come normalised and padded, so
torchvision's own transform is passed by. Guaranteed: backbone and heads hand over float32 under autocast.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from model.detector import (
    Candidates,
    Detections,
    Detector,
    ParameterGroup,
    Sizes,
    Target,
    has_area,
    require_matching,
    split_parameters,
)

Features = Mapping[str, Tensor]
Targets = list[dict[str, Tensor]]


class TorchvisionDetector(Detector):
    """A detector of torchvision; the bare model is `network`."""

    def __init__(
        self, network: Any, *, num_classes: int, max_detections: int, heads: Sequence[nn.Module]
    ) -> None:
        """`heads`: the modules beside the backbone whose outputs become boxes and losses."""
        super().__init__()
        self.num_classes = num_classes
        self.max_detections = max_detections
        self.network = network
        cast_outputs_to_float32([network.backbone, *heads])

    @abstractmethod
    def compute_losses(self, images: ImageList, features: Features, targets: Targets) -> dict[str, Tensor]:
        """Return torchvision's parts of the loss."""

    @abstractmethod
    def match(self, images: ImageList, features: Features, targets: Targets) -> list[Candidates]:
        """Return torchvision's anchors, locations or proposals of every image and what its loss makes of each."""

    @abstractmethod
    def find_boxes(self, images: ImageList, features: Features) -> list[dict[str, Tensor]]:
        """Return torchvision's detections of every image, after NMS."""

    def losses(self, images_BCHW: Tensor, sizes_B2: Sizes, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return torchvision's parts of the loss. Needs train mode."""
        return self.compute_losses(*self._to_learn(images_BCHW, sizes_B2, targets))

    def candidates(self, images_BCHW: Tensor, sizes_B2: Sizes, targets: Sequence[Target]) -> list[Candidates]:
        """Return what was said of every candidate and what it was to be. Needs train mode."""
        return self.match(*self._to_learn(images_BCHW, sizes_B2, targets))

    def detect(self, images_BCHW: Tensor, sizes_B2: Sizes) -> list[Detections]:
        """Return the best detections of every image after class-wise NMS."""
        require_matching(images_BCHW, sizes_B2, pad_multiple=self.pad_multiple)
        images, features = self._features(images_BCHW, sizes_B2)
        return [as_detections(result) for result in self.find_boxes(images, features)]

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the backbone without its pyramid, and the rest; decay on all, as in the released recipes."""
        return split_parameters(self, self.network.backbone.body)

    def _to_learn(
        self, images_BCHW: Tensor, sizes_B2: Sizes, targets: Sequence[Target]
    ) -> tuple[ImageList, Features, Targets]:
        require_matching(images_BCHW, sizes_B2, targets, pad_multiple=self.pad_multiple)
        if not self.training:
            raise ValueError("expected a detector in train mode: call .train() before .losses()")
        return *self._features(images_BCHW, sizes_B2), [as_torchvision(target) for target in targets]

    def _features(self, images_BCHW: Tensor, sizes_B2: Sizes) -> tuple[ImageList, Features]:
        images = ImageList(images_BCHW, [tuple(size) for size in sizes_B2])
        return images, self.network.backbone(images_BCHW)


def as_torchvision(target: Target) -> dict[str, Tensor]:
    """Return torchvision's form: classes from 1, no degenerate box (its logarithm would be infinite)."""
    solid = target.without_degenerate()
    return {"boxes": solid.boxes_N4.float(), "labels": solid.categories_N + 1}


def as_detections(result: dict[str, Tensor]) -> Detections:
    """Return torchvision's detections of one image with classes from 0, none of the background."""
    keep_N = has_area(result["boxes"]) & (result["labels"] > 0)
    return Detections(
        boxes_N4=result["boxes"][keep_N],
        categories_N=result["labels"][keep_N] - 1,
        scores_N=result["scores"][keep_N],
    )


def cast_outputs_to_float32(modules: Iterable[nn.Module]) -> None:
    """Have these modules hand over float32 under autocast.

    torchvision gives anchors and decoded boxes the dtype of features and head outputs; in bfloat16 a
    coordinate of 600 px is rounded to a multiple of 4 px. Hooks leave the state dict's names alone.
    """
    for module in modules:
        module.register_forward_hook(_float32_hook)


def _float32_hook(_module: nn.Module, _inputs: Any, outputs: Any) -> Any:
    return _to_float32(outputs)


def _to_float32(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float()
    if isinstance(value, dict):
        return type(value)((name, part.float()) for name, part in value.items())
    return type(value)(_to_float32(part) for part in value)
