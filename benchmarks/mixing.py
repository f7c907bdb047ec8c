"""Mixing of a step at 800 x 1100: ours beside the published code's steps as plain torch operations.

From four strong views (bytes) and a cache of eight to the student's four mixed images and the mosaic, normalised
and padded. Both execute the same plan. Theirs does what the published steps do, one after the other: normalise and
pad the batch, and for each image take the partner from the cache, resize it (nearest), flip it, erase both, add
them on a canvas of zeros; four tiles likewise into a mosaic; then copy the canvases into one padded batch. Its
cache holds normalised images, ours bytes. One thread each, the allocator as the system sets it (glibc, no variable
set).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from benchmarks.measure import Result, beside, compare, cpu_seconds
from pipeline.graphs.graph import Device, GraphDevice
from pipeline.graphs.mixing import Mixer
from pipeline.plans.mix_plans import Layer, MixPlan, MixupPlan, MosaicPlan, plan_mix
from pipeline.settings import MixSettings, ViewSettings

SIZE, BATCH_SIZE, CACHED, STEPS = (800, 1100), 4, 8, 4
VIEW, MIX = ViewSettings(), MixSettings()
NAME = "mixup of 4 + mosaic of 4, 800 x 1100"
CUDA_BAR = 20
"""One GPU does the work of so many CPU cores."""


def run() -> list[Result]:
    """Compare both on the plans of four steps, and CUDA where there is one."""
    rng = np.random.default_rng(0)
    plans = [_plan(np.random.default_rng(step)) for step in range(STEPS)]
    views = [rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8) for _ in range(BATCH_SIZE + CACHED)]
    ours, theirs = Ours(views, "cpu"), Theirs(views)
    _check(ours, theirs, plans[0])
    results = [
        compare(
            NAME,
            lambda: [ours.mix(plan) for plan in plans],
            lambda: [theirs.mix(plan) for plan in plans],
            bar=1.67,
            scale=1e3 / STEPS,
            unit="CPU ms a step",
        )
    ]
    if torch.cuda.is_available():
        core = min(cpu_seconds(lambda: [ours.mix(plan) for plan in plans]) for _ in range(3)) / STEPS
        results.append(_on_cuda(views, plans, core))
    return results


def _plan(rng: np.random.Generator) -> MixPlan:
    return plan_mix(rng, MIX, VIEW, np.tile(SIZE, (BATCH_SIZE, 1)), np.tile(SIZE, (CACHED, 1)))


class Ours:
    """The mixer on views that lie where the loader keeps them."""

    def __init__(self, views: Sequence[np.ndarray], device: Device) -> None:
        images = [torch.from_numpy(view).cuda() if device == "cuda" else view for view in views]
        self._current, self._cached = images[:BATCH_SIZE], images[BATCH_SIZE:]
        self._mixer = Mixer(VIEW, batch_size=BATCH_SIZE, device=GraphDevice(kind=device))

    def mix(self, plan: MixPlan) -> tuple[Tensor, Tensor]:
        assert plan.mosaic is not None, "the cache is full"
        partners = [self._cached[position] for position in plan.mixup.partner_positions_B]
        tiles = [self._cached[position] for position in plan.mosaic.positions_4]
        mixed = self._mixer.mixup(plan.mixup, self._current, partners)
        return mixed, self._mixer.mosaic(plan.mosaic, tiles)


class Theirs:
    """The same steps image by image."""

    def __init__(self, views: Sequence[np.ndarray]) -> None:
        self._mean_C11 = torch.tensor(VIEW.mean)[:, None, None]
        self._std_C11 = torch.tensor(VIEW.std)[:, None, None]
        views_CHW = [torch.from_numpy(view).permute(2, 0, 1).contiguous() for view in views]
        self._current = views_CHW[:BATCH_SIZE]
        self._cached = [self._normalised(view_CHW) for view_CHW in views_CHW[BATCH_SIZE:]]

    def mix(self, plan: MixPlan) -> tuple[Tensor, Tensor]:
        assert plan.mosaic is not None, "the cache is full"
        current_BCHW = _stacked([self._normalised(view_CHW) for view_CHW in self._current], 32)
        return self._mixup(plan.mixup, current_BCHW), self._mosaic(plan.mosaic)

    def _normalised(self, view_CHW: Tensor) -> Tensor:
        return (view_CHW.float() - self._mean_C11) / self._std_C11

    def _mixup(self, plan: MixupPlan, current_BCHW: Tensor) -> Tensor:
        assert plan.partner is not None, "the cache is full"
        canvases = []
        for index, position in enumerate(plan.partner_positions_B):
            height, width = plan.canvas_sizes_B2[index].tolist()
            canvas_CHW = current_BCHW.new_zeros(3, height, width)
            view_height, view_width = plan.current.source_sizes_N2[index]
            view_CHW = current_BCHW[
                index, :, :view_height, :view_width
            ].clone()  # the cache keeps it unerased
            for layer, image_CHW in ((plan.current, view_CHW), (plan.partner, self._cached[position])):
                _add(canvas_CHW, _used(layer, index, image_CHW), layer.offsets_N2[index], 0.5)
            canvases.append(canvas_CHW)
        return _stacked(canvases, 32)

    def _mosaic(self, plan: MosaicPlan) -> Tensor:
        canvas_CHW = torch.zeros(3, *plan.canvas_size)
        for index, position in enumerate(plan.positions_4):
            tile_CHW = _used(plan.tiles, index, self._cached[position])
            _add(canvas_CHW, tile_CHW, plan.tiles.offsets_N2[index], 1.0)
        return _stacked([canvas_CHW], 32)


def _used(layer: Layer, index: int, image_CHW: Tensor) -> Tensor:
    """Return an image resized, flipped and erased as its layer says."""
    size = tuple(layer.sizes_N2[index].tolist())
    if layer.flips_N[index]:
        image_CHW = interpolate(image_CHW[None], size=size, mode="nearest")[0].flip(-1)
    patches_P4 = layer.patches_P4[slice(*layer.patch_offsets_N1[index : index + 2])]
    top, left = layer.offsets_N2[index]
    for x1, y1, x2, y2 in patches_P4 - [left, top, left, top]:
        image_CHW[:, y1:y2, x1:x2] = 0
    return image_CHW


def _add(canvas_CHW: Tensor, image_CHW: Tensor, offset_2: np.ndarray, weight: float) -> None:
    top, left = offset_2.tolist()
    height, width = image_CHW.shape[1:]
    canvas_CHW[:, top : top + height, left : left + width] += weight * image_CHW


def _stacked(images: Sequence[Tensor], multiple: int) -> Tensor:
    """Return images as one batch, padded with zeros."""
    height, width = (-(-max(image.shape[axis] for image in images) // multiple) * multiple for axis in (1, 2))
    batch_BCHW = images[0].new_zeros(len(images), 3, height, width)
    for image_CHW, padded_CHW in zip(images, batch_BCHW, strict=True):
        padded_CHW[:, : image_CHW.shape[1], : image_CHW.shape[2]] = image_CHW
    return batch_BCHW


def _check(ours: Ours, theirs: Theirs, plan: MixPlan) -> None:
    """Both make the same images but for the interpolation: nearest there, bilinear here."""
    for one, other in zip(ours.mix(plan), theirs.mix(plan), strict=True):
        assert one.shape == other.shape, "both give the same size"
        # Where one is erased or padded the other is; noise differs by what interpolation makes of it.
        assert ((one == 0) == (other == 0)).float().mean() > 0.99, "both erase and pad the same places"


def _on_cuda(views: Sequence[np.ndarray], plans: Sequence[MixPlan], core_seconds: float) -> Result:
    ours = Ours(views, "cuda")
    ours.mix(plans[0])
    began = time.perf_counter()
    for plan in plans * 10:
        ours.mix(plan)
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - began) / (10 * len(plans))
    return beside(f"{NAME}, on CUDA", 1e3 * seconds, 1e3 * core_seconds, bar=CUDA_BAR, unit="ms a step")
