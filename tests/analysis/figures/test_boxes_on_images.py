"""Pictures: boxes land where they belong, small images are enlarged, inputs stay as they were."""

import io

import numpy as np
import pytest
from PIL import Image

from analysis.figures.boxes_on_images import (
    BLACK,
    MARGIN,
    class_colour,
    class_counts,
    contrast,
    draw_boxes,
    draw_hatched,
    learning_curves,
    png_bytes,
    scaled,
    stacked,
    teacher_beside_truth,
    text_colour,
    tile_grid,
    write_png,
)
from storage.labels import Labels

CLASSES = ("disk", "square")


@pytest.fixture
def grey():
    return np.full((64, 96, 3), 128, np.uint8)


def test_a_box_is_drawn_in_its_class_colour_at_its_place_in_the_enlarged_image(grey):
    drawn = draw_boxes(grey, Labels.of_image([[20, 30, 60, 50]], [1]), CLASSES, readable_side=384)
    assert drawn.shape == (256, 384, 3)
    assert tuple(drawn[40 * 4, 20 * 4]) == class_colour(1)
    assert tuple(drawn[50 * 4, 40 * 4]) == class_colour(1)
    assert tuple(drawn[40 * 4, 40 * 4]) == (128, 128, 128)


def test_large_images_keep_their_size_and_the_input_is_not_changed(grey):
    before = grey.copy()
    assert (
        draw_boxes(grey, Labels.of_image([[2, 2, 9, 9]], [0]), CLASSES, readable_side=10).shape == grey.shape
    )
    np.testing.assert_array_equal(grey, before)


def test_scores_are_written_where_wanted(grey):
    labels = Labels.of_image([[20, 30, 60, 50]], [0], [0.5])
    with_score = draw_boxes(grey, labels, CLASSES)
    assert not np.array_equal(with_score, draw_boxes(grey, labels, CLASSES, show_scores=False))


def test_an_image_without_boxes_is_only_enlarged(grey):
    assert (draw_boxes(grey, Labels.empty(1), CLASSES) == 128).all()


def test_neighbouring_classes_have_different_colours():
    colours = np.array([class_colour(category) for category in range(20)], int)
    distances = np.abs(colours[:, None] - colours[None]).sum(axis=2)
    assert distances[~np.eye(20, dtype=bool)].min() > 40


def test_names_can_be_read_on_the_colour_of_any_class():
    worst = min(contrast(text_colour(ground), ground) for ground in map(class_colour, range(300)))
    assert worst >= 4.5  # what WCAG asks of small text
    assert text_colour((255, 255, 255)) == BLACK
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)


def test_tiles_stand_row_by_row_with_room_for_captions(grey):
    grid = tile_grid([(grey, f"tile {number}") for number in range(5)], columns=2, title="five")
    assert (grid == 128).all(axis=2).sum() == 5 * 64 * 96
    assert grid.shape[1] == 2 * 96 + 3 * MARGIN


def test_teacher_and_truth_stand_side_by_side(grey):
    teacher = Labels.of_image([[20, 30, 60, 50]], [0], [0.5])
    panels = teacher_beside_truth(grey, teacher, Labels.empty(1), CLASSES, title="image 7")
    middle = panels.shape[1] // 2
    in_colour = (panels == class_colour(0)).all(axis=2)
    assert in_colour[:, :middle].any()
    assert not in_colour[:, middle:].any()


def test_curves_and_bars_are_drawn():
    curves = learning_curves({"supervised": [(1, 10.0), (2, 20.0)], "MixPL": [(1, 5.0)], "empty": []})
    bars = class_counts(CLASSES, [10, 5], [8, 1], correct=[7, 0], title="counts")
    for picture in (curves, bars):
        assert picture.dtype == np.uint8
        assert picture.shape[2] == 3
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


def test_a_picture_is_the_same_bytes_again_and_can_be_read_back(grey, tmp_path):
    content = png_bytes(grey)
    assert content == png_bytes(grey.copy())
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), grey)
    write_png(str(tmp_path / "deep" / "grey.png"), grey)
    assert (tmp_path / "deep" / "grey.png").read_bytes() == content


def test_a_hatched_rectangle_changes_pixels_inside_it_only(grey):
    before = grey.copy()
    drawn = draw_hatched(grey, np.array([[10.2, 20.4, 50, 40], [3, 3, 3, 9]]))
    rows, columns = np.nonzero((drawn != before).any(axis=2))
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (10, 20, 50, 40)
    assert 0.2 < len(rows) / (40 * 20) < 0.5
    np.testing.assert_array_equal(grey, before)


def test_a_picture_is_scaled_to_whole_pixels_and_pictures_are_stacked_on_white(grey):
    half = scaled(grey, 0.5)
    assert half.shape == (32, 48, 3)
    assert scaled(grey, 0.001).shape == (1, 1, 3)
    both = stacked([grey, half])
    assert both.shape == (96, 96, 3)
    assert (both[64:, :48] == 128).all()
    assert (both[64:, 48:] == 255).all()


def test_a_long_title_widens_the_paper(grey):
    assert tile_grid([(grey, "a")], columns=1, title="t" * 100).shape[1] > 500
