"""Boxes between tensors, which the model knows, and `Labels`, in which they travel everywhere else.

In and out: detections on any device, flat labels on the host, targets on the device of the images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from model.detector import Detections, Target
from storage.labels import Labels


def labels_of(detections: Sequence[Detections]) -> Labels:
    """Return the detections of a batch as flat labels on the host."""
    return Labels.concatenate(
        [
            Labels.of_image(d.boxes_N4.cpu().numpy(), d.categories_N.cpu().numpy(), d.scores_N.cpu().numpy())
            for d in detections
        ]
    )


def targets_of(labels: Labels, device: torch.device) -> list[Target]:
    """Return one target an image, on a device; scores play no part."""
    boxes_N4 = torch.from_numpy(labels.boxes_N4).to(device)
    categories_N = torch.from_numpy(labels.categories_N).to(device).long()
    counts = labels.counts().tolist()
    return [
        Target(boxes_N4=boxes, categories_N=categories)
        for boxes, categories in zip(
            torch.split(boxes_N4, counts), torch.split(categories_N, counts), strict=True
        )
    ]
