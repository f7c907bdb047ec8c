"""The library's own losses as weighted parts, and which query its matcher gave to which box.

In: a network's outputs, its configuration, the labels. Out: scalars whose sum is the library's loss; the first
matching that was made while the loss was computed, which is that of the last decoder layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

Labels = list[dict[str, Tensor]]
"""One dict an image: `class_labels` (int64) and `boxes` (centre, width and height as parts of the image)."""

_SUFFIX = re.compile(r"(_\d+|_enc)+$")


@dataclass(slots=True, eq=False)
class Matching:
    """What the matcher was shown and what it chose."""

    logits_BAK: Tensor = field(default_factory=lambda: torch.empty(0))
    boxes_BA4: Tensor = field(default_factory=lambda: torch.empty(0))
    """Centre, width and height as parts of the image."""
    pairs_B: Sequence[tuple[Tensor, Tensor]] = ()
    """Indices of queries and of boxes of each image."""


@contextmanager
def first_matching() -> Iterator[Matching]:
    """Give the first matching that is made inside; filled once it was."""
    from transformers.loss.loss_for_object_detection import HungarianMatcher
    from transformers.loss.loss_rt_detr import RTDetrHungarianMatcher

    found = Matching()

    def keep(module: nn.Module, inputs: tuple[Any, ...], pairs: Any) -> None:
        if isinstance(module, HungarianMatcher | RTDetrHungarianMatcher) and not found.pairs_B:
            found.logits_BAK, found.boxes_BA4 = inputs[0]["logits"], inputs[0]["pred_boxes"]
            found.pairs_B = pairs

    # The library makes its matcher anew inside each call of the loss: there is no module to hook but all.
    hook = register_module_forward_hook(keep)
    try:
        yield found
    finally:
        hook.remove()


def weighted_parts(loss_dict: dict[str, Tensor], config: Any) -> dict[str, Tensor]:
    """Return the parts that the library sums, times its weights, in float32; the others are for the log alone."""
    if hasattr(config, "weight_loss_bbox"):  # RT-DETR and its children: weighted already
        return {name: part.float() for name, part in loss_dict.items()}
    weights = {
        "loss_ce": getattr(config, "class_loss_coefficient", 1),
        "loss_bbox": config.bbox_loss_coefficient,
        "loss_giou": config.giou_loss_coefficient,
    }
    kinds = {name: _SUFFIX.sub("", name) for name in loss_dict}
    return {
        name: part.float() * weights[kinds[name]]
        for name, part in loss_dict.items()
        if kinds[name] in weights
    }


def proposal_parts(outputs: Any, labels: Labels, config: Any) -> dict[str, Tensor]:
    """Return the loss of the first stage of Deformable DETR, which transformers leaves out of its own.

    Any location of the encoder is matched with the boxes, whatever their class: the published first stage tells
    object from background by the first class logit. Without this loss proposals are chosen by untrained weights.
    The library's criterion, with its weights.
    """
    from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher, DeformableDetrImageLoss

    criterion = DeformableDetrImageLoss(  # type: ignore[no-untyped-call]
        matcher=DeformableDetrHungarianMatcher(
            class_cost=config.class_cost, bbox_cost=config.bbox_cost, giou_cost=config.giou_cost
        ),
        num_classes=config.num_labels,
        focal_alpha=config.focal_alpha,
        losses=["labels", "boxes"],
    )
    proposals = {
        "logits": outputs.enc_outputs_class,
        "pred_boxes": outputs.enc_outputs_coord_logits.sigmoid(),
    }
    objects = [{**label, "class_labels": torch.zeros_like(label["class_labels"])} for label in labels]
    parts = criterion(proposals, objects)
    return weighted_parts({f"{name}_enc": part for name, part in parts.items()}, config)
