"""Replay: the views and mixes that another implementation drew, made again by these graphs and this kernel.

In: recorded draws, decoded images (uint8, height x width x RGB, numpy on the CPU, strided as they may be) and
their boxes. Out: the
pixels and the `Labels` that come of them. The draws become plans by the functions that the random draws of a
training run go through (`view_plan`, `mixup_plan`, `mosaic_plan`), and the plans are executed by the graphs of
a training run; only the decoder is left out.

A strong view that another program logged as 360 x 480, mirrored, rotated by 12 degrees and then solarized,
and a mosaic of four such views:

    settings = ViewSettings(interpolation="reference")
    draw = ViewDraw(size=(360, 480), flip=True, geometry="rotate", amount=math.radians(12), colour="solarize",
                    colour_value=110.0, colour_first=False)
    plan = view_plan(settings, [image.shape[:2]], [draw])
    replay = Replay(settings, batch_size=4)
    views, labels = replay.strong(plan, [image], Labels.of_image([[10, 20, 110, 90]], [3]))

    tiles = MosaicDraw(positions_4=np.array([5, 7, 4, 6]), bounds=(512, 640),
                       patches=Patches.of_images([[[3, 4, 40, 38]], [], [], [[0, 0, 25, 31]]]))
    mosaic = mosaic_plan(MixSettings(), settings, tiles, cached_sizes)
    pixels, boxes = replay.mosaic(mosaic, (cached_views, cached_labels))

Shapes: B images, C = 3 channels, H x W padded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pipeline.graphs.graph import Image, require_sizes
from pipeline.graphs.mixing import Mixer
from pipeline.graphs.views import LabeledViews, UnlabeledViews
from pipeline.plans import move_boxes as boxes
from pipeline.plans.geometry import Sizes
from pipeline.plans.mix_plans import MixupPlan, MosaicPlan
from pipeline.plans.view_plans import ViewPlan
from pipeline.settings import ViewSettings
from storage.labels import Labels


class Replay:
    """Graphs that execute given plans on given pixels, and the same plans on boxes."""

    def __init__(self, settings: ViewSettings, *, batch_size: int) -> None:
        """`settings` are those that the plans are made with; `batch_size` is the most images of a call."""
        self._labeled = LabeledViews(settings, batch_size=batch_size, decoded=True)
        self._unlabeled = UnlabeledViews(settings, batch_size=batch_size, decoded=True)
        self._mixer = Mixer(settings, batch_size=batch_size)

    def view(self, plan: ViewPlan, images: Sequence[Image], labels: Labels) -> tuple[torch.Tensor, Labels]:
        """Return weak or labeled views: the normalised batch (B, 3, H, W) and their boxes."""
        pixels_BCHW = self._labeled.run(_planned("images", images, plan.source_sizes_B2), plan)
        return pixels_BCHW, boxes.project(labels, plan.box_matrices_B33, plan.sizes_B2)

    def strong(self, plan: ViewPlan, images: Sequence[Image], labels: Labels) -> tuple[list[Image], Labels]:
        """Return strong views as they are cached, uint8 (h, w, 3) each, and their boxes."""
        _, views = self._unlabeled.run(_planned("images", images, plan.source_sizes_B2), plan, plan)
        return views, boxes.project(labels, plan.box_matrices_B33, plan.sizes_B2)

    def mixup(
        self,
        plan: MixupPlan,
        current: tuple[Sequence[Image], Labels],
        cached: tuple[Sequence[Image], Labels],
    ) -> tuple[torch.Tensor, Labels]:
        """Return the student's batch (B, 3, H, W) and its boxes.

        `current` are this step's strong views and their boxes, `cached` those of the whole cache, oldest first.
        """
        views, labels = _taken(cached, plan.partner_positions_B.tolist())
        mixed = boxes.mixup_labels(plan, current[1], None if plan.partner is None else labels)
        strong = _planned("strong views", current[0], plan.current.source_sizes_N2)
        return self._mixer.mixup(plan, strong, views), mixed

    def mosaic(self, plan: MosaicPlan, cached: tuple[Sequence[Image], Labels]) -> tuple[torch.Tensor, Labels]:
        """Return the mosaic (1, 3, H, W) and its boxes; `cached` as in `mixup`."""
        tiles, labels = _taken(cached, plan.positions_4.tolist())
        return self._mixer.mosaic(plan, tiles), boxes.mosaic_labels(plan, labels)


def _planned(what: str, images: Sequence[Image], sizes_B2: Sizes) -> list[Image]:
    """Return the images as a graph takes them; raise ValueError for sizes that are not the plan's."""
    require_sizes(what, images, sizes_B2)
    return _contiguous(images)


def _contiguous(images: Sequence[Image]) -> list[Image]:
    """Return the images without strides of their own: a BGR image read backwards, a crop, a transpose."""
    return [
        image.contiguous() if isinstance(image, torch.Tensor) else np.ascontiguousarray(image)
        for image in images
    ]


def _taken(cached: tuple[Sequence[Image], Labels], positions: Sequence[int]) -> tuple[list[Image], Labels]:
    images, labels = cached
    return _contiguous([images[at] for at in positions]), Labels.concatenate(
        [labels.image(at) for at in positions]
    )
