"""Pictures of labels: boxes over images, grids, teacher beside truth, learning curves, class counts.

In: images as uint8 arrays, `Labels` of one image, plain numbers. Out: uint8 arrays; `png_bytes` and
`write_png` turn them into files. Guaranteed: the input image is not changed, small images are enlarged until
names and scores are readable, a class has the same colour in every picture, and no global plotting state is
touched.

Shapes: H x W image, N boxes.
"""

from __future__ import annotations

import colorsys
import io
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from storage import files
from storage.labels import Labels

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

READABLE_SIDE = 384  # images with a shorter long side are enlarged by a whole factor
MARGIN = 8
FONT_SIZE = 13
HATCH = 7
PAPER: Colour = (255, 255, 255)
INK: Colour = (30, 30, 34)
BLACK: Colour = (0, 0, 0)
PLOT_COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860")


def draw_boxes(
    image_HW3: Picture,
    labels: Labels,
    classes: Sequence[str],
    *,
    show_scores: bool = True,
    readable_side: int = READABLE_SIDE,
) -> Picture:
    """Return the image, enlarged where small, with its boxes.

    `labels` are of this one image. Each box has its class's colour and name, and its score unless
    `show_scores` is off; the best boxes lie on top.
    """
    assert len(labels) == 1, "the labels of one image"
    factor = max(1, -(-readable_side // max(image_HW3.shape[:2])))
    picture = Image.fromarray(np.ascontiguousarray(image_HW3))
    picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
    canvas = ImageDraw.Draw(picture)
    tags = []
    for row in np.argsort(labels.scores_N, kind="stable"):
        category, box = int(labels.categories_N[row]), (labels.boxes_N4[row] * factor).tolist()
        canvas.rectangle(box, outline=class_colour(category), width=2)
        score = f" {labels.scores_N[row]:.2f}" if show_scores else ""
        tags.append((box, class_colour(category), classes[category] + score))
    for box, colour, text in tags:  # above all boxes
        _tag(canvas, picture.size, box, colour, text)
    return np.asarray(picture)


def scaled(picture_HW3: Picture, factor: float) -> Picture:
    """Return the picture, each side times `factor`."""
    picture = Image.fromarray(np.ascontiguousarray(picture_HW3))
    width, height = (max(1, round(side * factor)) for side in picture.size)
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0))


def draw_hatched(picture_HW3: Picture, rectangles_P4: npt.NDArray[np.floating]) -> Picture:
    """Return the picture with rectangles (xyxy) outlined and hatched."""
    picture = Image.fromarray(np.ascontiguousarray(picture_HW3))
    for x1, y1, x2, y2 in np.rint(rectangles_P4).astype(int).tolist():
        if x2 <= x1 or y2 <= y1:
            continue
        hatched = picture.crop((x1, y1, x2, y2))
        canvas = ImageDraw.Draw(hatched)
        for start in range(0, x2 - x1 + y2 - y1, HATCH):
            canvas.line([(start, 0), (start - (y2 - y1), y2 - y1)], PAPER)
        canvas.rectangle((0, 0, x2 - x1 - 1, y2 - y1 - 1), outline=PAPER)
        picture.paste(hatched, (x1, y1))
    return np.asarray(picture)


def stacked(pictures: Sequence[Picture]) -> Picture:
    """Return pictures one below the other on white paper."""
    width = max(picture.shape[1] for picture in pictures)
    paper = [
        np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=PAPER[0])
        for picture in pictures
    ]
    return np.concatenate(paper)


def tile_grid(tiles: Sequence[tuple[Picture, str]], *, columns: int, title: str = "") -> Picture:
    """Return captioned pictures on white paper, row by row, under a title."""
    assert tiles, "at least one tile"
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    cell_height = max(tile.shape[0] for tile, _ in tiles) + FONT_SIZE + MARGIN
    cell_width = max(tile.shape[1] for tile, _ in tiles)
    head = 2 * FONT_SIZE + MARGIN if title else 0
    title_width = 2 * MARGIN + int(_font(FONT_SIZE + 5).getlength(title))
    width = max(columns * (cell_width + MARGIN) + MARGIN, title_width)
    size = (width, rows * (cell_height + MARGIN) + MARGIN + head)
    paper = Image.new("RGB", size, PAPER)
    canvas = ImageDraw.Draw(paper)
    canvas.text((MARGIN, MARGIN), title, INK, font=_font(FONT_SIZE + 5))
    for number, (tile, caption) in enumerate(tiles):
        left = MARGIN + number % columns * (cell_width + MARGIN)
        top = MARGIN + head + number // columns * (cell_height + MARGIN)
        canvas.text((left, top), _shortened(caption, cell_width), INK, font=_font(FONT_SIZE))
        paper.paste(Image.fromarray(np.ascontiguousarray(tile)), (left, top + FONT_SIZE + MARGIN))
    return np.asarray(paper)


def teacher_beside_truth(
    image_HW3: Picture, teacher: Labels, truth: Labels, classes: Sequence[str], *, title: str = ""
) -> Picture:
    """Return two panels of one image: what the teacher labeled, and the truth."""
    panels = [
        (draw_boxes(image_HW3, teacher, classes), f"teacher: {len(teacher.boxes_N4)} boxes"),
        (draw_boxes(image_HW3, truth, classes, show_scores=False), f"truth: {len(truth.boxes_N4)} boxes"),
    ]
    return tile_grid(panels, columns=2, title=title)


def learning_curves(
    arms: Mapping[str, Sequence[tuple[int, float]]], *, metric: str = "AP50", title: str = ""
) -> Picture:
    """Return the curves of several arms over training steps; a point is (step, value in percent)."""
    figure, axes = _figure(7.0, 4.2)
    for number, (arm, points) in enumerate(arms.items()):
        steps, values = [point[0] for point in points], [point[1] for point in points]
        colour = PLOT_COLOURS[number % len(PLOT_COLOURS)]
        axes.plot(steps, values, marker="o", markersize=4, color=colour, label=arm)
        if points:
            axes.annotate(
                f"{values[-1]:.1f}",
                (steps[-1], values[-1]),
                xytext=(6, -3),
                textcoords="offset points",
                color=colour,
            )
    axes.set(xlabel="training step", ylabel=f"{metric} (%)", title=title, ylim=(0, None))
    axes.legend(frameon=False, loc="lower right")
    return drawn(figure)


def class_counts(
    classes: Sequence[str],
    truth: npt.ArrayLike,
    pseudo_labels: npt.ArrayLike,
    *,
    correct: npt.ArrayLike | None = None,
    title: str = "",
) -> Picture:
    """Return bars of boxes per class: the truth, the pseudo labels, and how many of these are correct."""
    figure, axes = _figure(max(7.0, 0.7 * len(classes)), 4.2)
    places = np.arange(len(classes))
    axes.bar(places - 0.2, np.asarray(truth), 0.38, color="#b8bcc4", label="truth")
    axes.bar(places + 0.2, np.asarray(pseudo_labels), 0.38, color=PLOT_COLOURS[1], label="pseudo labels")
    if correct is not None:
        axes.bar(places + 0.2, np.asarray(correct), 0.38, color=PLOT_COLOURS[2], label="of these correct")
    crowded = len(classes) > 6
    axes.set_xticks(places, classes, rotation=30 if crowded else 0, ha="right" if crowded else "center")
    axes.set(ylabel="boxes", title=title)
    axes.legend(frameon=False)
    return drawn(figure)


def class_colour(category: int) -> Colour:
    """Return the colour of a class: hues a golden angle apart."""
    lightness = (0.62, 0.52, 0.72)[category % 3]
    red, green, blue = colorsys.hls_to_rgb((0.03 + category * 0.61803398875) % 1, lightness, 0.9)
    return int(255 * red), int(255 * green), int(255 * blue)


def text_colour(ground: Colour) -> Colour:
    """Return black or white, whichever stands out more: one of them always does, by 4.5 to 1 or more."""
    return max((BLACK, PAPER), key=lambda text: contrast(text, ground))


def contrast(one: Colour, other: Colour) -> float:
    """Return the contrast of two colours, 1 to 21 (WCAG 2.2, contrast ratio)."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: Colour) -> float:
    shares = [part / 255 for part in colour]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def drawn(figure: Figure) -> Picture:
    """Return a figure as the pixels that it draws."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.array(canvas.buffer_rgba(), np.uint8)[:, :, :3]  # type: ignore[no-untyped-call]


def png_bytes(picture_HW3: Picture) -> bytes:
    """Return a picture as a PNG file's content."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture_HW3)).save(buffer, "PNG")
    return buffer.getvalue()


def write_png(location: str, picture_HW3: Picture) -> None:
    """Write a picture, atomically, to a path or URL."""
    files.write_atomic(location, png_bytes(picture_HW3))


def _tag(
    canvas: ImageDraw.ImageDraw, size: tuple[int, int], box: Sequence[float], colour: Colour, text: str
) -> None:
    """Write the text on a patch of colour above the box, or inside it at the upper edge of the image."""
    font = _font(FONT_SIZE)
    width, height = int(canvas.textlength(text, font)) + 4, FONT_SIZE + 2
    left = max(0, min(int(box[0]), size[0] - width))
    top = int(box[1]) - height if box[1] >= height else int(box[1])
    canvas.rectangle([left, top, left + width, top + height], fill=colour)
    canvas.text((left + 2, top), text, text_colour(colour), font=font)


def _shortened(text: str, width: int) -> str:
    font = _font(FONT_SIZE)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes
