"""Plans as pictures: images where the plan says, nothing beyond, and the same picture every time."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from analysis.figures.boxes_on_images import PLOT_COLOURS, Picture
from analysis.figures.plan_figures import (
    Geometry,
    PlanRow,
    draw_geometry,
    draw_pixels,
    geometry_picture,
    plan_picture,
)
from storage.labels import Labels

QUADS = np.array(
    [[[0, 0], [60, 0], [60, 60], [0, 60]], [[60, 20], [140, 20], [140, 80], [60, 80]]], np.float64
)


def geometry(*, patches: int = 1, cross: bool = False) -> Geometry:
    return Geometry(
        size=(100, 120),
        padded_size=(128, 128),
        quads_Q42=QUADS,
        areas_Q4=np.array([[0, 0, 60, 60], [60, 20, 120, 80]]),
        patches_P4=np.array([[5, 5, 25, 25]] * patches).reshape(-1, 4),
        cross=cross,
    )


def near(picture: Picture, colour: str) -> int:
    """Number of pixels of about this colour, laid over white at 28 %."""
    wanted = 255 * (0.28 * np.array(to_rgb(colour)) + 0.72)
    return int((np.abs(picture - wanted).max(axis=2) < 4).sum())


def test_an_image_is_filled_only_where_it_is_seen() -> None:
    picture = geometry_picture(geometry(patches=0), side=500)
    first, second = (near(picture, colour) for colour in PLOT_COLOURS[:2])
    assert first > 5000
    assert 0.9 < second / first < 1.1  # both seen areas are 60 x 60, though the second image is 80 wide
    assert picture.shape == (500, 500, 3)


def test_patches_are_hatched_and_a_mosaic_has_a_cross() -> None:
    plain, patched, crossed = (
        geometry_picture(one, side=300)
        for one in (geometry(patches=0), geometry(), geometry(patches=0, cross=True))
    )
    changed = np.abs(plain.astype(int) - patched).max(axis=2) > 60
    rows, columns = np.nonzero(changed)
    assert changed.sum() > 100
    assert (rows.max() - rows.min(), columns.max() - columns.min()) < (80, 80)
    assert (np.abs(plain.astype(int) - crossed).max(axis=2) > 60).sum() > 100


def test_axes_show_every_corner_with_y_downwards() -> None:
    axes = Figure().subplots()
    draw_geometry(axes, geometry())
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert left < 0 < 140 < right
    assert top < 0 < 128 < bottom
    assert sum(isinstance(patch, Polygon) and len(patch.get_xy()) == 5 for patch in axes.patches) >= 4


def test_boxes_lie_over_pixels_in_edge_coordinates() -> None:
    axes = Figure().subplots()
    draw_pixels(axes, np.zeros((50, 70, 3), np.uint8), Labels.of_image([[10, 20, 30, 45]], [1]), ["a", "b"])
    (image,) = axes.get_images()
    assert tuple(image.get_extent()) == (0, 70, 50, 0)
    (box,) = (patch.get_bbox().extents.tolist() for patch in axes.patches)
    assert box == [10, 20, 30, 45]
    assert [text.get_text() for text in axes.texts] == ["b"]


def test_a_picture_of_rows_is_the_same_every_time() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (60, 60, 3)).astype(np.uint8)
    labels = Labels.of_image([[5, 5, 20, 20]], [0])
    rows = [
        PlanRow(
            title=title,
            sources=[(picture, labels, "one"), (picture, None, "two"), *[(picture, labels, "more")] * more],
            geometry=geometry(cross=True),
            picture=picture,
            labels=labels,
        )
        for title, more in (("mixup", 0), ("mosaic", 2))
    ]
    drawn = plan_picture(rows, ["disk"])
    np.testing.assert_array_equal(drawn, plan_picture(rows, ["disk"]))
    assert drawn.shape[0] > 1.9 * plan_picture(rows[:1], ["disk"]).shape[0]
