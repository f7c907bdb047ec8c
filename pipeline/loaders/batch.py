"""What a training step sees: views with finished pixels, and the plan that moves labels between them.

In: tensors from the DALI graphs and the plans they executed. Out: `TrainBatch`. Its pixels are done before
any label exists; the trainer makes labels on the weak view and asks `UnlabeledPlan` where they lie in the
strong view, in the student's images and in the mosaic. Where labels come from a stored round, the loader has
moved them there and the views carry them. `LabelCache` keeps the labels of the strong views whose pixels the
loader keeps, in the same order.

Shapes: B images, C = 3 channels (RGB), H x W padded; N boxes, K cached images, oldest first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.plans import move_boxes as boxes
from pipeline.plans.geometry import Sizes
from pipeline.plans.mix_plans import MixPlan
from pipeline.plans.view_plans import ViewPlan
from storage.errors import StoreError
from storage.labels import Labels


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class View:
    """A batch of images, ready for a detector."""

    images_BCHW: Tensor
    """float32, normalised, channels-last, padded with zeros at the bottom and right."""
    sizes_B2: list[tuple[int, int]]
    """(height, width) of each image before padding."""
    keys: tuple[str, ...]
    """Which images they are; those of a mixed image are joined by "+"."""
    targets: Labels | None = None
    """In the pixels of the view. Of a labeled view the ground truth; of the student's view and the mosaic, where
    labels come from a stored round, its boxes of every score: `TrainBatch.thresholds_C` says which count."""

    @classmethod
    def from_plan(
        cls, plan: ViewPlan, images_BCHW: Tensor, keys: tuple[str, ...], targets: Labels | None = None
    ) -> View:
        """Return the views that a graph made by this plan."""
        return cls(images_BCHW=images_BCHW, sizes_B2=size_pairs(plan.sizes_B2), keys=keys, targets=targets)


def size_pairs(sizes_B2: Sizes) -> list[tuple[int, int]]:
    """Return sizes as plain (height, width) pairs."""
    return [(int(height), int(width)) for height, width in sizes_B2]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UnlabeledPlan:
    """Where boxes of the weak views lie in every other image made of the same step's unlabeled images."""

    keys: tuple[str, ...]
    image_ids_B: npt.NDArray[np.int64]
    weak: ViewPlan
    """Where a weak view lies, whether it is made or not."""
    strong: ViewPlan
    mix: MixPlan

    def original_labels(self, weak: Labels) -> Labels:
        """Return labels of the weak views in the pixels of the original images, clipped; for label tables."""
        inverse_B33 = np.linalg.inv(self.weak.box_matrices_B33).astype(np.float64)
        return boxes.project(weak, inverse_B33, self.weak.source_sizes_B2)

    def strong_labels(self, weak: Labels) -> Labels:
        """Return labels of the weak views in pixels of the strong views, clipped, degenerate ones dropped."""
        weak_to_strong_B33 = self.strong.box_matrices_B33 @ np.linalg.inv(self.weak.box_matrices_B33)
        return boxes.project(weak, weak_to_strong_B33, self.strong.sizes_B2)

    def student_labels(self, strong: Labels, cache: LabelCache) -> Labels:
        """Return the labels of `TrainBatch.student`: erased boxes dropped, the partners' boxes added.

        `cache` is the one before this step's strong labels are pushed.
        """
        mixup = self.mix.mixup
        partner = None if mixup.partner is None else cache.take(mixup.partner_positions_B)
        return boxes.mixup_labels(mixup, strong, partner)

    def mosaic_labels(self, cache: LabelCache) -> Labels:
        """Return the labels of `TrainBatch.mosaic`, one image; `cache` as in `student_labels`."""
        assert self.mix.mosaic is not None, "this batch has no mosaic"
        tiles = cache.take(self.mix.mosaic.positions_4)
        return boxes.mosaic_labels(self.mix.mosaic, tiles)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainBatch:
    """Everything that one step of one process needs from the pipeline."""

    step: int
    labeled: View | None
    """Supervised view with targets."""
    weak: View | None
    """What the teacher labels; None without unlabeled images, before they begin, and while labels come from a
    stored round."""
    student: View | None
    """What the student learns of the same images: strong, erased, mixed once the cache is full."""
    mosaic: View | None
    """One image of four cached ones; None while the cache is not full, or mosaic is off."""
    plan: UnlabeledPlan | None
    resume: dict[str, Any]
    """Give it to `TrainLoader(resume=...)` to get the batches after this one. Integers in lists and dicts,
    and repeat factors as tensors: what `torch.load(weights_only=True)` takes. Each rank has its own."""
    timings: dict[str, float]
    """Seconds: read, views (stored labels included), mix (work in the background), blocked (the background
    waited for the consumer before this batch), wait (the consumer waited for this batch)."""
    num_unreadable: dict[str, int]
    """Images set aside so far as unreadable, by part: labeled, unlabeled."""
    thresholds_C: npt.NDArray[np.float64] | None = None
    """Score threshold of each class above which targets of a stored round count; None where the teacher labels."""
    cached: Labels | None = None
    """At the step at which the teacher takes over from a stored round: the labels of the cached strong views,
    oldest first, to begin the trainer's `LabelCache` with. Else None."""

    def without_views(self) -> TrainBatch:
        """Return what is left to tell of a batch whose pixels have been learned from."""
        return dataclasses.replace(self, labeled=None, weak=None, student=None, mosaic=None)


class LabelCache:
    """The labels of the last `capacity` strong views, oldest first."""

    def __init__(self, capacity: int) -> None:
        """`capacity` is `MixSettings.capacity(batch size)`, the same as the loader's."""
        assert capacity >= 1, "a label cache holds at least one image"
        self.capacity = capacity
        self._labels = Labels.empty(0)

    def __len__(self) -> int:
        """Return the number of cached images."""
        return len(self._labels)

    def push(self, strong: Labels) -> None:
        """Append the labels of one step's strong views and forget the oldest beyond the capacity."""
        both = Labels.concatenate([self._labels, strong])
        self._labels = both.images(max(0, len(both) - self.capacity), len(both))

    def clear(self) -> None:
        """Forget everything."""
        self._labels = Labels.empty(0)

    def take(self, positions: Sequence[int] | npt.NDArray[np.int64]) -> Labels:
        """Return the labels at these positions, in the order asked for; 0 is the oldest."""
        for position in positions:
            if not 0 <= position < len(self):
                raise ValueError(
                    f"the label cache holds {len(self)} of {self.capacity} images, asked for position "
                    f"{position}; push the strong labels of every step that has unlabeled images"
                )
        return Labels.concatenate([self._labels.image(int(position)) for position in positions])

    def state_dict(self) -> dict[str, Tensor]:
        """Return the contents as plain tensors, for a checkpoint."""
        return {
            "boxes": torch.from_numpy(self._labels.boxes_N4.copy()),
            "categories": torch.from_numpy(self._labels.categories_N.copy()),
            "scores": torch.from_numpy(self._labels.scores_N.copy()),
            "offsets": torch.from_numpy(self._labels.offsets_B1.copy()),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up what `state_dict` gave. Raises StoreError for more images than the capacity."""
        labels = Labels(
            boxes_N4=state["boxes"].numpy(),
            categories_N=state["categories"].numpy(),
            scores_N=state["scores"].numpy(),
            offsets_B1=state["offsets"].numpy(),
        )
        if len(labels) > self.capacity:
            raise StoreError(
                f"expected at most {self.capacity} cached images, got {len(labels)} from the checkpoint; "
                "resume with the cache and batch size it was written with"
            )
        self._labels = labels
