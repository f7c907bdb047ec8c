"""Boxes between tensors, which the model knows, and `Labels`, in which they travel everywhere else.

In and out: detections on any device, flat labels on the host, targets on the device of the images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from model.detector import Detections, Target
from storage.labels import Labels, offsets_of_counts


def labels_of(detections: Sequence[Detections]) -> Labels:
    """Return the detections of a batch as flat labels on the host, to which they cross in one copy."""
    if not detections:
        return Labels.empty(0)
    packed_N6 = torch.cat([_packed(image) for image in detections]).cpu().numpy()
    return Labels(
        boxes_N4=np.ascontiguousarray(packed_N6[:, :4]),
        categories_N=packed_N6[:, 4].astype(np.int32),
        scores_N=np.ascontiguousarray(packed_N6[:, 5]),
        offsets_B1=offsets_of_counts([len(image) for image in detections]),
    )


def targets_of(labels: Labels, device: torch.device) -> list[Target]:
    """Return one target an image, on a device; scores play no part.

    All boxes cross in one copy that the host does not wait for.
    """
    packed_N5 = torch.from_numpy(np.column_stack([labels.boxes_N4, labels.categories_N.astype(np.float32)]))
    if device.type == "cuda":
        packed_N5 = packed_N5.pin_memory().to(device, non_blocking=True)
    counts = labels.counts().tolist()
    boxes_N4, categories_N = packed_N5[:, :4].contiguous(), packed_N5[:, 4].long()
    return [
        Target(boxes_N4=boxes, categories_N=categories)
        for boxes, categories in zip(
            torch.split(boxes_N4, counts), torch.split(categories_N, counts), strict=True
        )
    ]


def _packed(image: Detections) -> torch.Tensor:
    """Return boxes, categories and scores side by side (N, 6); float32 holds a category below 2^24 exactly."""
    columns = (image.boxes_N4, image.categories_N[:, None].float(), image.scores_N[:, None])
    return torch.cat(columns, dim=1)
