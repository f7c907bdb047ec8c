"""The loss: focal on classes, L1 and GIoU on boxes, of every layer, of the encoder's choice and of the denoising.

In: what was said of the queries, and which query is to become which true box. Out: named scalar parts, weighted.
Normalised by the number of true boxes of this process's batch; a released recipe takes the mean number over
processes, which here would have one process wait for another within a step. Source: DINO (arXiv 2203.03605);
Deformable DETR (2010.04159).

Shapes: B images, L layers, Q queries, K classes, P pairs of a layer.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou_loss, sigmoid_focal_loss

from model.detectors.dino.assignment import FOCAL_ALPHA, FOCAL_GAMMA, Assignment, Truth

CLASS_WEIGHT, BOX_WEIGHT, GIOU_WEIGHT = 1.0, 5.0, 2.0


def layer_losses(
    logits_LBQK: Tensor, boxes_LBQ4: Tensor, assignment: Assignment, truth: Truth
) -> dict[str, Tensor]:
    """Return the weighted `loss_class`, `loss_box` and `loss_giou` (L,) of every layer.

    Those of boxes are zero, with zero gradients, where no query is to become a box.
    """
    num_layers, num_pairs = assignment.queries_LP.shape
    layers_L1 = torch.arange(num_layers, device=logits_LBQK.device)[:, None]
    pairs = (layers_L1, assignment.images_LP, assignment.queries_LP)
    wanted_LBQK = torch.zeros_like(logits_LBQK)
    wanted_LBQK[*pairs, truth.classes_T[assignment.truths_LP]] = 1.0
    focal = sigmoid_focal_loss(logits_LBQK, wanted_LBQK, alpha=FOCAL_ALPHA, gamma=FOCAL_GAMMA)
    boxes_LP4 = boxes_LBQ4[pairs]
    scales_LP4 = truth.scales_B4[assignment.images_LP]
    # in pixels, where an area of 1e-7, which keeps the quotient finite, is next to nothing
    giou_LP = generalized_box_iou_loss(
        box_convert(boxes_LP4, "cxcywh", "xyxy") * scales_LP4, truth.boxes_T4[assignment.truths_LP]
    )
    distances_LP = (boxes_LP4 - truth.shares_T4[assignment.truths_LP]).abs().sum(dim=-1)
    num_true = max(1, num_pairs)
    return {
        "loss_class": CLASS_WEIGHT * focal.sum(dim=(1, 2, 3)) / num_true,
        "loss_box": BOX_WEIGHT * distances_LP.sum(dim=1) / num_true,
        "loss_giou": GIOU_WEIGHT * giou_LP.sum(dim=1) / num_true,
    }


def name_layers(losses: dict[str, Tensor], names: list[str]) -> dict[str, Tensor]:
    """Return the parts of every layer (L,) as scalars, the name of the layer before that of the part."""
    return {
        name + part: value
        for part, values_L in losses.items()
        for name, value in zip(names, values_L.unbind(), strict=True)
    }
