"""Pictures of plans: where images land on a canvas, what is erased there, the pixels, and the boxes.

In: plain arrays: canvas sizes, quadrilaterals, rectangles, pictures, `Labels` of one image. Out: drawn axes of a
matplotlib figure, or a whole picture. The colours of the layers are the same in every panel; a class has the colour
that it has in `analysis.figures.boxes_on_images`.

Shapes: Q images of a canvas, P erased patches, (x, y) corners.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from analysis.figures.boxes_on_images import PLOT_COLOURS, Picture, class_colour, drawn
from storage.labels import Labels

INK = "#1e1e22"
PAD = "#e9eaee"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Geometry:
    """One canvas of a plan."""

    size: tuple[int, int]
    """(height, width) of the canvas."""
    padded_size: tuple[int, int]
    """(height, width) of the tensor that holds it."""
    quads_Q42: npt.NDArray[np.float64]
    """Where the corners of each original image land: top left, top right, bottom right, bottom left."""
    areas_Q4: npt.NDArray[np.int64]
    """Where each strong view lies, xyxy: nothing of its image is seen beyond."""
    patches_P4: npt.NDArray[np.int64]
    """Erased rectangles, xyxy."""
    cross: bool
    """Whether the canvas is a mosaic of four, parted at its centre."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlanRow:
    """A plan and what it makes, for one row of the picture."""

    title: str
    sources: Sequence[tuple[Picture, Labels | None, str]]
    """Each original with its boxes and its name."""
    geometry: Geometry
    picture: Picture
    labels: Labels | None


def plan_picture(rows: Sequence[PlanRow], classes: Sequence[str], *, dpi: int = 90) -> Picture:
    """Return rows of panels: the originals, the plan, its pixels, its boxes."""
    figure = Figure(figsize=(13.4, 3.75 * len(rows)), dpi=dpi, layout="constrained")
    bands = figure.subfigures(len(rows), 1, hspace=0.03, squeeze=False)
    for band, row in zip(bands[:, 0], rows, strict=True):
        band.suptitle(row.title, x=0.008, ha="left", fontsize=11, fontweight="bold", color=INK)
        left, right = band.subfigures(1, 2, width_ratios=(1, 3))
        columns = 2 if len(row.sources) > 2 else 1
        small = left.subplots(-(-len(row.sources) // columns), columns, squeeze=False)
        for number, (axes, (picture, labels, name)) in enumerate(zip(small.flat, row.sources, strict=True)):
            draw_pixels(axes, picture, labels, classes, names=False)
            axes.set_title(f"{number + 1}: {name}", fontsize=7.5, color=_colour(number), pad=2.5)
            _frame(axes, _colour(number), 1.6)
        plan, pixels, with_boxes = right.subplots(1, 3)
        draw_geometry(plan, row.geometry)
        draw_pixels(pixels, row.picture, None, classes)
        draw_pixels(with_boxes, row.picture, row.labels, classes)
        for axes, title in zip(
            (plan, pixels, with_boxes), ("the plan", "its pixels", "its boxes"), strict=True
        ):
            axes.set_title(title, fontsize=9.5, color=INK)
    return drawn(figure)


def geometry_picture(geometry: Geometry, *, side: int) -> Picture:
    """Return one plan by itself, `side` pixels wide and high."""
    figure = Figure(figsize=(side / 100, side / 100), dpi=100, layout="constrained")
    draw_geometry(figure.subplots(), geometry)
    return drawn(figure)


def draw_geometry(axes: Axes, geometry: Geometry) -> None:
    """Draw where every image lands: its outline where it would lie, filled where it is seen; patches hatched."""
    height, width = geometry.size
    axes.add_patch(Rectangle((0, 0), *geometry.padded_size[::-1], facecolor=PAD, edgecolor="none"))
    canvas = Rectangle((0, 0), width, height, facecolor="white", edgecolor=INK, linewidth=1.4)
    axes.add_patch(canvas)
    for number, (quad_42, area_4) in enumerate(zip(geometry.quads_Q42, geometry.areas_Q4, strict=True)):
        colour = _colour(number)
        area = _rectangle(area_4, edgecolor=colour, facecolor="none", linewidth=0.9, linestyle=(0, (4, 2)))
        axes.add_patch(area)
        seen = Polygon(quad_42, closed=True, facecolor=colour, alpha=0.28, edgecolor="none")
        axes.add_patch(seen)
        seen.set_clip_path(area)
        axes.add_patch(Polygon(quad_42, closed=True, facecolor="none", edgecolor=colour, linewidth=1.6))
        axes.plot(*quad_42[0], marker="o", markersize=4.5, color=colour)  # tells a flip from a turn
        axes.annotate(
            str(number + 1),
            quad_42.mean(axis=0),
            color=colour,
            fontsize=15,
            fontweight="bold",
            ha="center",
            va="center",
            annotation_clip=False,
        )
    for patch_4 in geometry.patches_P4:
        axes.add_patch(
            _rectangle(patch_4, facecolor="none", edgecolor=INK, hatch="//////", linewidth=0.5, alpha=0.75)
        )
    if geometry.cross:
        for x, y in (([width / 2] * 2, [0, height]), ([0, width], [height / 2] * 2)):
            axes.plot(x, y, color=INK, linewidth=1.0, linestyle=(0, (2, 2)))
    _whole(axes, np.concatenate([geometry.quads_Q42.reshape(-1, 2), [(0, 0), geometry.padded_size[::-1]]]))


def draw_pixels(
    axes: Axes, picture: Picture, labels: Labels | None, classes: Sequence[str], *, names: bool = True
) -> None:
    """Draw a picture with the boxes of its one image; pixel i covers i to i + 1, as boxes count."""
    height, width = picture.shape[:2]
    axes.imshow(picture, extent=(0, width, height, 0), interpolation="nearest")
    boxes = [] if labels is None else zip(labels.boxes_N4, labels.categories_N.tolist(), strict=True)
    for box_4, category in boxes:
        red, green, blue = class_colour(category)
        colour = f"#{red:02x}{green:02x}{blue:02x}"
        axes.add_patch(_rectangle(box_4, facecolor="none", edgecolor=colour, linewidth=1.5))
        if names:
            axes.text(
                float(box_4[0]),
                float(box_4[1]),
                classes[category],
                fontsize=6.5,
                color=INK,
                va="bottom",
                bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.8},
            )
    axes.set(xlim=(0, width), ylim=(height, 0))
    _frame(axes, INK, 0.8)


def _rectangle(box_4: npt.NDArray[np.number], **style: object) -> Rectangle:
    x1, y1, x2, y2 = (float(side) for side in box_4)
    return Rectangle((x1, y1), x2 - x1, y2 - y1, **style)  # type: ignore[arg-type]


def _whole(axes: Axes, points_N2: npt.NDArray[np.float64]) -> None:
    """Let the axes show every point, with the same scale both ways and y downwards."""
    low_2, high_2 = points_N2.min(axis=0), points_N2.max(axis=0)
    margin = 0.02 * float((high_2 - low_2).max())
    axes.set(
        xlim=(low_2[0] - margin, high_2[0] + margin),
        ylim=(high_2[1] + margin, low_2[1] - margin),
        aspect="equal",
    )
    axes.tick_params(labelsize=7, colors=INK, length=2)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)


def _frame(axes: Axes, colour: str, width: float) -> None:
    axes.set(xticks=[], yticks=[], aspect="equal")
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=width)


def _colour(number: int) -> str:
    return PLOT_COLOURS[number % len(PLOT_COLOURS)]
