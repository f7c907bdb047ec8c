"""DINO behind the detector adapter.

In and out: as `model.detector.Detector` says. Losses: three parts (class, box, GIoU) of every layer of the decoder,
of the tokens that the encoder selected, and of every layer for the denoising queries: 39 with six layers. A
detection is a pair of a query and a class, best scores first, without NMS: matching one to one teaches the queries
not to repeat each other. Source: DINO (arXiv 2203.03605).

Random: the noise of the denoising is drawn from torch's global generators. Shapes: B images, C channels, H x W
pixels, L layers, Q queries, K classes, D detections.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_convert, clip_boxes_to_image

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
from model.detectors.dino.assignment import Truth, collect_truth, match
from model.detectors.dino.criterion import layer_losses, name_layers
from model.detectors.dino.denoising import Noise
from model.detectors.dino.network import DINONetwork, Output


class DINODetector(Detector):
    """A transformer with a query for every object."""

    exports_to_onnx = False

    def __init__(
        self, network: DINONetwork, *, num_classes: int, min_score: float = 0.05, max_detections: int = 300
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.min_score = min_score
        self.max_detections = max_detections
        self.network = network

    def losses(self, images_BCHW: Tensor, sizes_B2: Sizes, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the weighted parts of the loss, under new noise."""
        require_matching(images_BCHW, sizes_B2, targets)
        truth = collect_truth(targets, sizes_B2, images_BCHW.device)
        return self.losses_under(self.network.denoising.draw_noise(truth), images_BCHW, sizes_B2, truth)

    def losses_under(
        self, noise: Noise, images_BCHW: Tensor, sizes_B2: Sizes, truth: Truth
    ) -> dict[str, Tensor]:
        """Return the weighted parts of the loss under this noise."""
        denoising = self.network.denoising(truth, noise)
        output = self.network(images_BCHW, sizes_B2, denoising)
        logits, boxes = _with_selected(output)
        matched = layer_losses(logits, boxes, match(logits, boxes, truth), truth)
        denoised = layer_losses(
            output.denoised.logits_LBNK,
            output.denoised.boxes_LBN4,
            denoising.assignment.expand(len(logits) - 1),
            truth,
        )
        # the last layer's parts, which make the detections, have the plain names
        layers = [*(f"layer{number}_" for number in range(1, len(logits) - 1)), ""]
        return {
            **name_layers(matched, [*layers, "encoder_"]),
            **name_layers(denoised, [f"denoising_{layer}" for layer in layers]),
        }

    def detect(self, images_BCHW: Tensor, sizes_B2: Sizes) -> list[Detections]:
        """Return the best pairs of a query and a class of every image."""
        require_matching(images_BCHW, sizes_B2)
        said = self.network(images_BCHW, sizes_B2).matched
        return [
            self._best(logits_QK, boxes_Q4, size)
            for logits_QK, boxes_Q4, size in zip(
                said.logits_LBNK[-1], said.boxes_LBN4[-1], sizes_B2, strict=True
            )
        ]

    def candidates(self, images_BCHW: Tensor, sizes_B2: Sizes, targets: Sequence[Target]) -> list[Candidates]:
        """Return what the last layer said of every query of each image and what it was to be."""
        require_matching(images_BCHW, sizes_B2, targets)
        truth = collect_truth(targets, sizes_B2, images_BCHW.device)
        said = self.network(images_BCHW, sizes_B2).matched
        logits_BQK, boxes_BQ4 = said.logits_LBNK[-1], said.boxes_LBN4[-1]
        pairs = match(said.logits_LBNK[-1:], said.boxes_LBN4[-1:], truth)
        classes_BQ = torch.full(logits_BQK.shape[:2], self.num_classes, device=logits_BQK.device)
        classes_BQ[pairs.images_LP[0], pairs.queries_LP[0]] = truth.classes_T[pairs.truths_LP[0]]
        boxes_BQ4 = box_convert(boxes_BQ4, "cxcywh", "xyxy") * truth.scales_B4[:, None]
        return [
            Candidates(logits_AK=logits, classes_A=classes, boxes_A4=boxes, activation="sigmoid")
            for logits, classes, boxes in zip(logits_BQK, classes_BQ, boxes_BQ4, strict=True)
        ]

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return backbone and rest, both at the rates of the run, as the released recipe has them."""
        return split_parameters(self, self.network.levels.backbone)

    def _best(self, logits_QK: Tensor, boxes_Q4: Tensor, size: tuple[int, int]) -> Detections:
        scores = logits_QK.sigmoid().flatten()
        best = scores.topk(min(self.max_detections, len(scores)))
        height, width = size
        scale = boxes_Q4.new_tensor([width, height, width, height])
        corners_D4 = box_convert(boxes_Q4[best.indices // self.num_classes], "cxcywh", "xyxy") * scale
        boxes_D4 = clip_boxes_to_image(corners_D4, size)
        keep_D = (best.values >= self.min_score) & has_area(boxes_D4)
        return Detections(
            boxes_N4=boxes_D4[keep_D],
            categories_N=(best.indices % self.num_classes)[keep_D],
            scores_N=best.values[keep_D],
        )


def _with_selected(output: Output) -> tuple[Tensor, Tensor]:
    """Return logits and boxes of the decoder's layers with those of the encoder as one layer more, the last."""
    logits = torch.cat([output.matched.logits_LBNK, output.selected.logits_BQK[None]])
    boxes = torch.cat([output.matched.boxes_LBN4, output.selected.boxes_BQ4[None]])
    return logits, boxes
