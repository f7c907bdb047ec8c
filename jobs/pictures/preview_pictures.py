"""The pictures of one step: every view with its boxes, and plans taken apart.

In: a `PreviewStep`. Out: uint8 pictures. Images are scaled to one size, so that a page of 64 px views reads like
one of 1,200 px; erased patches are hatched, and beside a mosaic stands the geometry of its plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from analysis.figures.boxes_on_images import draw_boxes, draw_hatched, scaled, stacked, tile_grid
from analysis.figures.plan_figures import Geometry, PlanRow, geometry_picture, plan_picture
from jobs.pictures.preview_step import PreviewStep, StrongSources
from jobs.pictures.view_pictures import Picture, known_truth, original_picture, view_pictures
from pipeline.loaders.batch import View
from pipeline.plans.mix_plans import Layer, MixPlan, MosaicPlan
from pipeline.plans.view_plans import ViewPlan
from pipeline.settings import COLOUR_OPS, ViewSettings
from storage.dataset.dataset import Dataset
from storage.labels import Labels

Rectangles = npt.NDArray[np.int64]
Section = tuple[str, list[tuple[Picture, str]]]
"""A heading, and pictures with their captions."""

SIDE = 360
"""Longer side of a view on the page, in pixels."""
MOST = 4
"""Images of a view that are shown."""


def step_picture(
    step: PreviewStep, classes: Sequence[str], *, view: ViewSettings, title: str, origin: str
) -> Picture:
    """Return the page of one step."""
    sections = []
    if step.batch.labeled is not None:
        labeled = step.batch.labeled
        tiles = _tiles(labeled, labeled.targets, classes, view, _keys(labeled))
        sections.append((f"{title}. Labeled views, with the truth", tiles))
    sections += _unlabeled_sections(step, classes, view, origin)
    return stacked([tile_grid(tiles, columns=MOST, title=name) for name, tiles in sections])


def _unlabeled_sections(
    step: PreviewStep, classes: Sequence[str], view: ViewSettings, origin: str
) -> Iterator[Section]:
    batch, plan = step.batch, step.batch.plan
    if plan is None or batch.student is None or step.strong is None:
        return
    name = f"Strong views (boxes: {origin})"
    if batch.weak is not None:
        captions = [_described(plan.weak, index, key) for index, key in enumerate(plan.keys)]
        tiles = _tiles(batch.weak, step.weak_labels, classes, view, captions)
        yield f"Weak views, which the teacher labels (boxes: {origin})", tiles
        name = "Strong views of the same images"
    captions = [_described(plan.strong, index, key) for index, key in enumerate(plan.keys)]
    yield name, _tiles(step.strong, step.strong_labels, classes, view, captions)
    mixed = "Pseudo-mixup images" if plan.mix.mixup.partner is not None else "Strong views, not mixed,"
    patches = _mixup_patches(plan.mix)
    tiles = _tiles(batch.student, step.student_labels, classes, view, _keys(batch.student), patches)
    yield f"{mixed} as the student sees them; what is erased is hatched", tiles
    if plan.mix.mosaic is not None and step.cached is not None:
        tiles = _mosaic_tiles(step, plan.mix.mosaic, step.cached, classes, view)
        yield "Pseudo-mosaic of four cached views, and its plan", tiles


def plan_rows_picture(step: PreviewStep, unlabeled: Dataset, *, view: ViewSettings) -> Picture:
    """Return the first mixup image and the mosaic taken apart; the step must have both."""
    plan, batch = step.batch.plan, step.batch
    assert plan is not None
    assert batch.student is not None
    assert batch.mosaic is not None
    assert step.current is not None
    assert step.cached is not None
    mixup, mosaic = plan.mix.mixup, plan.mix.mosaic
    assert mosaic is not None
    assert mixup.partner is not None
    first = np.array([0])
    pair = [
        (step.current.take(first), _one(mixup.current, 0)),
        (step.cached.take(mixup.partner_positions_B[first]), _one(mixup.partner, 0)),
    ]
    height, width = (int(side) for side in mixup.canvas_sizes_B2[0])
    rows = [
        PlanRow(
            title=f"Pseudo-mixup, image {batch.student.keys[0]}",
            sources=[source for views, _ in pair for source in _sources(views, unlabeled)],
            geometry=_geometry((height, width), mixup.padded_size, pair, cross=False),
            picture=view_pictures(batch.student, view)[0],
            labels=None if step.student_labels is None else step.student_labels.image(0),
        ),
        _mosaic_row(step, mosaic, step.cached.take(mosaic.positions_4), unlabeled, batch.mosaic, view),
    ]
    return plan_picture(rows, unlabeled.classes)


def _mosaic_row(
    step: PreviewStep,
    plan: MosaicPlan,
    tiles: StrongSources,
    unlabeled: Dataset,
    mosaic: View,
    view: ViewSettings,
) -> PlanRow:
    return PlanRow(
        title="Pseudo-mosaic of four cached views",
        sources=_sources(tiles, unlabeled),
        geometry=_geometry(plan.canvas_size, plan.padded_size, [(tiles, plan.tiles)], cross=True),
        picture=view_pictures(mosaic, view)[0],
        labels=step.mosaic_labels,
    )


def _sources(views: StrongSources, dataset: Dataset) -> list[tuple[Picture, Labels | None, str]]:
    truth = known_truth(dataset, views.keys)
    return [
        (original_picture(dataset, key), None if truth is None else truth.image(index), key)
        for index, key in enumerate(views.keys)
    ]


def _geometry(
    size: tuple[int, int],
    padded_size: tuple[int, int],
    parts: Sequence[tuple[StrongSources, Layer]],
    *,
    cross: bool,
) -> Geometry:
    return Geometry(
        size=size,
        padded_size=padded_size,
        quads_Q42=np.concatenate([views.quads(layer) for views, layer in parts]),
        areas_Q4=np.concatenate([_areas(layer) for _, layer in parts]),
        patches_P4=np.concatenate([layer.patches_P4 for _, layer in parts]),
        cross=cross,
    )


def _areas(layer: Layer) -> Rectangles:
    starts_N2 = layer.offsets_N2[:, ::-1]
    return np.concatenate([starts_N2, starts_N2 + layer.sizes_N2[:, ::-1]], axis=1)


def _one(layer: Layer, index: int) -> Layer:
    """Return the layer of one image."""
    first, last = layer.patch_offsets_N1[index], layer.patch_offsets_N1[index + 1]
    only = slice(index, index + 1)
    return replace(
        layer,
        source_sizes_N2=layer.source_sizes_N2[only],
        sizes_N2=layer.sizes_N2[only],
        flips_N=layer.flips_N[only],
        offsets_N2=layer.offsets_N2[only],
        patches_P4=layer.patches_P4[first:last],
        patch_offsets_N1=np.array([0, last - first]),
        scales_N=None if layer.scales_N is None else layer.scales_N[only],
    )


def _mixup_patches(plan: MixPlan) -> list[Rectangles]:
    return [
        np.concatenate([_one(layer, index).patches_P4 for layer in plan.mixup.layers])
        for index in range(len(plan.mixup.current))
    ]


def _mosaic_tiles(
    step: PreviewStep, plan: MosaicPlan, cached: StrongSources, classes: Sequence[str], view: ViewSettings
) -> list[tuple[Picture, str]]:
    assert step.batch.mosaic is not None
    tiles = cached.take(plan.positions_4)
    side = 2 * SIDE
    geometry = _geometry(plan.canvas_size, plan.padded_size, [(tiles, plan.tiles)], cross=True)
    (drawn,) = _tiles(
        step.batch.mosaic,
        step.mosaic_labels,
        classes,
        view,
        ["+".join(tiles.keys)],
        [plan.tiles.patches_P4],
        side,
    )
    numbered = ", ".join(f"{number}: {key}" for number, key in enumerate(tiles.keys, start=1))
    return [drawn, (geometry_picture(geometry, side=side), numbered)]


def _tiles(
    view: View,
    labels: Labels | None,
    classes: Sequence[str],
    settings: ViewSettings,
    captions: Sequence[str],
    patches: Sequence[Rectangles] | None = None,
    side: int = SIDE,
) -> list[tuple[Picture, str]]:
    """Return the first images of a view, scaled, with boxes and patches."""
    tiles = []
    for index, picture in enumerate(view_pictures(view, settings)[:MOST]):
        factor = side / max(picture.shape[:2])
        drawn = scaled(picture, factor)
        if patches is not None:
            drawn = draw_hatched(drawn, patches[index] * factor)
        if labels is not None:
            drawn = draw_boxes(
                drawn, labels.image(index).scaled(factor), classes, show_scores=False, readable_side=1
            )
        tiles.append((drawn, captions[index]))
    return tiles


def _keys(view: View) -> list[str]:
    sizes = [f"{width} x {height}" for height, width in view.sizes_B2]
    return [f"{key}, {size}" for key, size in zip(view.keys, sizes, strict=True)]


def _described(plan: ViewPlan, index: int, key: str) -> str:
    """Return image, size, and what the plan does to it."""
    height, width = plan.sizes_B2[index]
    name, value = COLOUR_OPS[plan.colour_ops_B[index]], plan.colour_values_B[index]
    parts = [key, f"{width} x {height}"]
    if plan.flips_B[index]:
        parts.append("flipped")
    if name in {"auto_contrast", "equalize"}:
        parts.append(name)
    elif name != "identity":
        parts.append(f"{name} {value:.3g}")
    return ", ".join(parts)
