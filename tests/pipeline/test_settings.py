"""The settings hold the paper's numbers and refuse what no view can be made with, by name."""

import pytest

from pipeline.settings import COLOUR_OPS, MixSettings, ViewSettings
from storage.errors import ConfigError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("short_range", (0, 10)),
        ("short_range", (20, 10)),
        ("long_max", 0),
        ("flip", 1.5),
        ("test_short", 0),
        ("test_long_max", 0),
        ("colour_ops", ("sepia",)),
        ("enhance_range", (1.9, 0.1)),
        ("posterize_range", (0, 9)),
        ("posterize_range", (5, 4)),
        ("geometric_ops", ("swirl",)),
        ("rotate_degrees", -1.0),
        ("shear_degrees", 90.0),
        ("translate_fraction", 2.0),
        ("border_value", 256),
        ("std", (1.0, 0.0, 1.0)),
        ("pad_multiple", 0),
        ("interpolation", "cubic"),
    ],
)
def test_view_settings_refuse_a_value_by_the_name_of_its_field(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^{field}: got .* expected"):
        ViewSettings(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cache", 3),
        ("mosaic_range", (400, 400)),
        ("mosaic_multiple", 0),
        ("erase_patches", (5, 1)),
        ("erase_ratio", (0.0, 1.5)),
        ("drop_ratio", -0.1),
        ("weights", (0.5, 1.5)),
        ("weights", (1.0, 0.0)),
    ],
)
def test_mix_settings_refuse_a_value_by_the_name_of_its_field(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^{field}: got .* expected"):
        MixSettings(**{field: value})


def test_an_unknown_colour_operation_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'sepia'.*auto_contrast, equalize"):
        ViewSettings(colour_ops=("identity", "sepia"))


def test_the_cache_holds_the_partners_of_a_batch_and_four_tiles() -> None:
    assert [MixSettings().capacity(size) for size in (1, 4, 5, 16)] == [8, 8, 9, 20]


def test_the_paper_draws_from_nine_colour_operations() -> None:
    assert len(set(COLOUR_OPS)) == 9
