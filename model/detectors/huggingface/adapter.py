"""What the detectors of the DETR family have in common behind the detector adapter.

In and out: as `model.detector.Detector` says. Losses and matching are the library's own, of all decoder layers, the
encoder's proposals and the denoising queries (those are drawn from torch's global generator). Predictions are the
family's own: the best pairs of query and class by sigmoid (DETR: the best class of each query by softmax), no NMS,
at most 100 an image, as many as COCO's evaluation counts. Guaranteed: class and box heads hand over float32 under
autocast; a batch without any box has a loss.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
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
)
from model.detectors.huggingface.family import Family
from model.detectors.huggingface.matching import Labels, first_matching, proposal_parts, weighted_parts
from model.detectors.huggingface.network import backbone_of, pad_multiple_of, strides_of
from model.detectors.torchvision.adapter import cast_outputs_to_float32

# Modules whose outputs become classes and boxes.
_HEADS = re.compile(
    r"(^|\.)((enc_out_)?class_embed|class_labels_classifier|enc_score_head|(enc_out_)?bbox_embed|bbox_predictor"
    r"|enc_bbox_head|pre_bbox_head|lqe_layers|integral)(\.\d+)?$"
)
_OFFSETS = re.compile(r"(sampling_offsets|reference_points)\.")
OFFSET_LR_FACTOR = 0.1
"""Of sampling offsets and reference points (Deformable DETR, arXiv 2010.04159, appendix A.4)."""


class HuggingFaceDetector(Detector):
    """A detector of transformers; the bare model is `network`."""

    exports_to_onnx = False

    def __init__(
        self,
        network: Any,
        *,
        family: Family,
        num_classes: int,
        min_score: float = 0.05,
        max_detections: int = 100,
    ) -> None:
        """Take over a network of transformers, in train mode."""
        super().__init__()
        self.network = network
        self.num_classes = num_classes
        needed, usual = pad_multiple_of(network.config), family.input.pad_multiple
        self.pad_multiple = needed if usual % needed else usual
        self.min_score = min_score
        self.max_detections = max_detections
        self._family, self._strides = family, strides_of(network.config)
        cast_outputs_to_float32(heads_of(network))

    def losses(self, images_BCHW: Tensor, sizes_B2: Sizes, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the library's parts of the loss, weighted. Needs train mode."""
        require_matching(images_BCHW, sizes_B2, targets, pad_multiple=self.pad_multiple)
        if not self.training:
            raise ValueError("expected a detector in train mode: call .train() before .losses()")
        config = self.network.config
        scales_B4 = self._scales(images_BCHW, sizes_B2)
        labels = [as_labels(target, scale) for target, scale in zip(targets, scales_B4, strict=True)]
        outputs = self._run(images_BCHW, sizes_B2, labels)
        parts = weighted_parts(outputs.loss_dict, config)
        if getattr(config, "two_stage", False):
            parts |= proposal_parts(outputs, labels, config)
        return parts

    @torch.no_grad()
    def candidates(self, images_BCHW: Tensor, sizes_B2: Sizes, targets: Sequence[Target]) -> list[Candidates]:
        """Return the queries of the last decoder layer and the class each was matched to. Needs train mode.

        RF-DETR and LW-DETR train several groups of queries, each matched by itself: all are here.
        """
        with first_matching() as matching:
            self.losses(images_BCHW, sizes_B2, targets)
        boxes_BA4 = box_convert(matching.boxes_BA4, "cxcywh", "xyxy")
        scales_B4 = self._scales(images_BCHW, sizes_B2)
        found = []
        for index, (queries, boxes) in enumerate(matching.pairs_B):
            logits_AK = matching.logits_BAK[index].float()
            classes_A = torch.full_like(logits_AK[:, 0], self.num_classes, dtype=torch.int64)
            classes_A[queries] = targets[index].without_degenerate().categories_N[boxes]
            found.append(
                Candidates(
                    logits_AK=logits_AK,
                    classes_A=classes_A,
                    boxes_A4=boxes_BA4[index].float() * scales_B4[index],
                    activation=self._family.activation,
                )
            )
        return found

    def detect(self, images_BCHW: Tensor, sizes_B2: Sizes) -> list[Detections]:
        """Return the best detections of every image."""
        require_matching(images_BCHW, sizes_B2, pad_multiple=self.pad_multiple)
        outputs = self._run(images_BCHW, sizes_B2)
        boxes_BQ4 = box_convert(outputs.pred_boxes.float(), "cxcywh", "xyxy")
        boxes_BQ4 = boxes_BQ4 * self._scales(images_BCHW, sizes_B2)[:, None]
        return [
            self._best(logits_QK, boxes_Q4, size)
            for logits_QK, boxes_Q4, size in zip(outputs.logits.float(), boxes_BQ4, sizes_B2, strict=True)
        ]

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the backbone, sampling offsets and reference points, and the rest; norms apart, without decay."""
        backbone = {id(parameter) for parameter in backbone_of(self.network).parameters()}
        norms = {
            id(parameter)
            for module in self.modules()
            if _is_norm(module)
            for parameter in module.parameters()
        }
        groups: dict[tuple[str, float], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            kind = "offsets" if _OFFSETS.search(name) else "rest"
            kind = "backbone" if id(parameter) in backbone else kind
            groups.setdefault((kind, 0.0 if id(parameter) in norms else 1.0), []).append(parameter)
        return [
            ParameterGroup(
                name=kind,
                parameters=parameters,
                lr_factor=OFFSET_LR_FACTOR if kind == "offsets" else 1.0,
                decay_factor=decay,
            )
            for (kind, decay), parameters in groups.items()
        ]

    def _run(self, images_BCHW: Tensor, sizes_B2: Sizes, labels: Labels | None = None) -> Any:
        height, width = self._padded(images_BCHW)
        images_BCHW = pad(images_BCHW, (0, width - images_BCHW.shape[3], 0, height - images_BCHW.shape[2]))
        self._require_enough_locations(height, width)
        mask_BHW = mask_of(images_BCHW, sizes_B2) if self._family.reads_mask else None
        return self.network(pixel_values=images_BCHW, pixel_mask=mask_BHW, labels=labels)

    def _scales(self, images_BCHW: Tensor, sizes_B2: Sizes) -> Tensor:
        """Return the width, height, width and height in pixels that the boxes of each image are parts of."""
        padded = self._padded(images_BCHW)
        sizes = [size if self._family.reads_mask else padded for size in sizes_B2]
        return images_BCHW.new_tensor([(width, height) * 2 for height, width in sizes], dtype=torch.float32)

    def _padded(self, images_BCHW: Tensor) -> tuple[int, int]:
        """Return height and width of the images that the network is given: a mosaic need not be a square."""
        height, width = images_BCHW.shape[-2:]
        return (max(height, width),) * 2 if self._family.squares_only else (height, width)

    def _require_enough_locations(self, height: int, width: int) -> None:
        """Raise ValueError where an image has fewer locations than the detector has queries."""
        locations = sum(math.ceil(height / stride) * math.ceil(width / stride) for stride in self._strides)
        if self._strides and locations < (queries := self.num_queries):
            raise ValueError(
                f"expected images of at least {queries} locations at strides "
                f"{', '.join(map(str, self._strides))}, one for each query, got {height} x {width} px with "
                f"{locations}: train and predict at larger sizes, or with --model.size compact"
            )

    @property
    def num_queries(self) -> int:
        """How many queries find objects, at most one object each."""
        config = self.network.config
        two_stage = getattr(config, "two_stage", False)
        return int(config.two_stage_num_proposals if two_stage else config.num_queries)

    def _best(self, logits_QK: Tensor, boxes_Q4: Tensor, size: tuple[int, int]) -> Detections:
        """Return the detections of one image from the logits and boxes of its queries."""
        if self._family.activation == "softmax":
            scores_Q, categories_Q = logits_QK.softmax(dim=1)[:, :-1].max(dim=1)
            scores_N, chosen_N = scores_Q.topk(min(self.max_detections, len(scores_Q)))
            queries_N, categories_N = chosen_N, categories_Q[chosen_N]
        else:
            scores_A = logits_QK.sigmoid().flatten()
            scores_N, chosen_N = scores_A.topk(min(self.max_detections, len(scores_A)))
            queries_N, categories_N = chosen_N // logits_QK.shape[1], chosen_N % logits_QK.shape[1]
        boxes_N4 = clip_boxes_to_image(boxes_Q4[queries_N], size)
        keep_N = has_area(boxes_N4) & (scores_N >= self.min_score)
        return Detections(
            boxes_N4=boxes_N4[keep_N], categories_N=categories_N[keep_N], scores_N=scores_N[keep_N]
        )


def as_labels(target: Target, scale_4: Tensor) -> dict[str, Tensor]:
    """Return the library's form: boxes as parts of the image, none degenerate."""
    solid = target.without_degenerate()
    boxes_N4 = box_convert(solid.boxes_N4.float(), "xyxy", "cxcywh") / scale_4
    return {"class_labels": solid.categories_N, "boxes": boxes_N4}


def mask_of(images_BCHW: Tensor, sizes_B2: Sizes) -> Tensor:
    """Return 1 where a pixel belongs to its image, 0 where it is padding."""
    _, _, height, width = images_BCHW.shape
    sizes = torch.tensor(sizes_B2, device=images_BCHW.device)
    rows_BH = torch.arange(height, device=images_BCHW.device) < sizes[:, :1]
    columns_BW = torch.arange(width, device=images_BCHW.device) < sizes[:, 1:]
    return (rows_BH[:, :, None] & columns_BW[:, None, :]).long()


def heads_of(network: nn.Module) -> list[nn.Module]:
    """Return the modules whose outputs become classes and boxes."""
    return [
        module
        for name, module in network.named_modules()
        if _HEADS.search(name) and not isinstance(module, nn.ModuleList)
    ]


def _is_norm(module: nn.Module) -> bool:
    return "Norm" in type(module).__name__ and not any(module.children())
