"""Which query is to become which true box: the cheapest pairing of the two, one to one.

In: `Truth`, the targets of a batch, and what each layer said of the queries. Out: `Assignment`. Guaranteed: the
costs of all layers and images cross to the host together, once. Source: DETR (arXiv 2005.12872) section 3.1, with
the focal cost of Deformable DETR (2010.04159); the weights, DINO (2203.03605) appendix D.

Shapes: B images, T true boxes of the batch, L layers, Q queries, P pairs of a layer, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou

from model.detector import Sizes, Target

CLASS_COST, BOX_COST, GIOU_COST = 2.0, 5.0, 2.0
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
_EPS = 1e-12
_HOPELESS = 1e6
"""Cost in place of one that is not a number: weights that diverge are to show in the loss, not here."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Truth:
    """The true boxes of all images of a batch, one after another."""

    boxes_T4: Tensor
    """xyxy, pixels."""
    shares_T4: Tensor
    """Centre x, centre y, width, height in 0 .. 1 of the valid area."""
    classes_T: Tensor
    images_T: Tensor
    """Which image each is of."""
    places_T: Tensor
    """Which box of its image each is."""
    scales_B4: Tensor
    """Width, height, width, height of the valid area of each image."""
    counts_B: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Assignment:
    """Pairs of a query and a true box in each layer; all layers have the same number of pairs."""

    images_LP: Tensor
    queries_LP: Tensor
    truths_LP: Tensor

    def expand(self, num_layers: int) -> Assignment:
        """Return the same pairs in each of so many layers, for pairs of one layer."""
        return Assignment(
            images_LP=self.images_LP.expand(num_layers, -1),
            queries_LP=self.queries_LP.expand(num_layers, -1),
            truths_LP=self.truths_LP.expand(num_layers, -1),
        )


def collect_truth(targets: Sequence[Target], sizes_B2: Sizes, device: torch.device) -> Truth:
    """Return the targets of a batch without degenerate boxes."""
    solid = [target.without_degenerate() for target in targets]
    counts = tuple(len(target.boxes_N4) for target in solid)
    images = [image for image, count in enumerate(counts) for _ in range(count)]
    places = [place for count in counts for place in range(count)]
    images_T, places_T = (torch.tensor(numbers, dtype=torch.int64).to(device) for numbers in (images, places))
    scales_B4 = torch.tensor([(width, height) * 2 for height, width in sizes_B2], dtype=torch.float32).to(
        device
    )
    boxes_T4 = torch.cat([target.boxes_N4 for target in solid]).to(device, torch.float32)
    return Truth(
        boxes_T4=boxes_T4,
        shares_T4=box_convert(boxes_T4 / scales_B4[images_T], "xyxy", "cxcywh"),
        classes_T=torch.cat([target.categories_N for target in solid]).to(device),
        images_T=images_T,
        places_T=places_T,
        scales_B4=scales_B4,
        counts_B=counts,
    )


@torch.no_grad()
def match(logits_LBQK: Tensor, boxes_LBQ4: Tensor, truth: Truth) -> Assignment:
    """Return the cheapest pairs of every layer and image; boxes beyond the number of queries go without."""
    costs_LQT = pair_costs(logits_LBQK, boxes_LBQ4, truth)
    costs = torch.nan_to_num(costs_LQT, nan=_HOPELESS, posinf=_HOPELESS, neginf=_HOPELESS).cpu().numpy()
    starts = np.cumsum((0, *truth.counts_B))
    layers = []
    for layer in costs:
        pairs = [
            (np.full(len(queries), image), queries, truths + starts[image])
            for image in range(len(truth.counts_B))
            for queries, truths in [linear_sum_assignment(layer[:, starts[image] : starts[image + 1]])]
        ]
        layers.append(np.concatenate(pairs, axis=1))
    images, queries, truths = torch.from_numpy(np.stack(layers, axis=1)).to(costs_LQT.device)
    return Assignment(images_LP=images, queries_LP=queries, truths_LP=truths)


def pair_costs(logits_LBQK: Tensor, boxes_LBQ4: Tensor, truth: Truth) -> Tensor:
    """Return the cost (L, Q, T) of every query of a true box's image for that box."""
    class_costs_LBQK = _class_costs(logits_LBQK.sigmoid())
    costs, start = [], 0
    for image, count in enumerate(truth.counts_B):
        own = slice(start, start + count)
        start += count
        boxes_LQ4 = boxes_LBQ4[:, image]
        corners_LQ4 = box_convert(boxes_LQ4, "cxcywh", "xyxy") * truth.scales_B4[image]
        giou = generalized_box_iou(corners_LQ4.flatten(0, 1), truth.boxes_T4[own])
        costs.append(
            CLASS_COST * class_costs_LBQK[:, image, :, truth.classes_T[own]]
            + BOX_COST * torch.cdist(boxes_LQ4, truth.shares_T4[own], p=1)
            - GIOU_COST * giou.view(*boxes_LQ4.shape[:2], count)
        )
    return torch.cat(costs, dim=2)


def _class_costs(scores: Tensor) -> Tensor:
    """Return the focal loss of each score were it to be 1, less that were it to be 0."""
    positive = -(scores + _EPS).log() * FOCAL_ALPHA * (1 - scores) ** FOCAL_GAMMA
    negative = -(1 - scores + _EPS).log() * (1 - FOCAL_ALPHA) * scores**FOCAL_GAMMA
    return positive - negative
