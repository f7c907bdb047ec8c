"""The constants of views and mixing, as frozen values.

In: keyword arguments. Out: `ViewSettings` and `MixSettings`, checked when made. The defaults are the paper's
numbers (MixPL, arXiv 2312.07006, and its released recipes); no other file of the pipeline holds one. What a
detector asks of its images stands in `ViewSettings` alone, the rest in `ViewChoices`, which a run's configuration
shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from storage.errors import ConfigError

ColourOp = Literal[
    "identity",
    "auto_contrast",
    "equalize",
    "sharpness",
    "posterize",
    "solarize",
    "saturation",
    "contrast",
    "brightness",
]
COLOUR_OPS: tuple[ColourOp, ...] = get_args(ColourOp)
"""Every colour operation; a plan stores its index in this tuple."""

GeometricOp = Literal["rotate", "shear_x", "shear_y", "translate_x", "translate_y"]
GEOMETRIC_OPS: tuple[GeometricOp, ...] = get_args(GeometricOp)
"""Every geometric operation of a strong view."""

Interpolation = Literal["linear", "reference"]
"""How pixels are resampled, and whether boxes follow them; see `ViewSettings.interpolation`."""

Resize = Literal["short_side", "square"]
"""Whether a view keeps the ratio of its image's sides; see `ViewSettings.resize`."""

MOSAIC_TILES = 4
"""A mosaic is two tiles wide and two high."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewChoices:
    """What does not go by the detector of how one image becomes a weak, strong, labeled or test view."""

    short_range: tuple[int, int] = (400, 1200)
    """Shortest and longest short side in pixels of a training view, both included; drawn uniformly."""
    long_max: int = 1333
    """Longest side in pixels of a training view; wins over the short side."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    test_short: int = 800
    """Short side in pixels of a test view."""
    test_long_max: int = 1333
    """Longest side in pixels of a test view."""
    colour_ops: tuple[ColourOp, ...] = COLOUR_OPS
    """Colour operations, of which a strong or labeled view draws one."""
    enhance_range: tuple[float, float] = (0.1, 1.9)
    """Factor of sharpness, saturation, contrast and brightness; 1 leaves an image as it is."""
    posterize_range: tuple[int, int] = (0, 4)
    """Fewest and most low bits that posterize removes, both included; 4 7 is what the published code does."""
    solarize_range: tuple[float, float] = (0.0, 256.0)
    """Level at and above which solarize inverts."""
    geometric_ops: tuple[GeometricOp, ...] = GEOMETRIC_OPS
    """Geometric operations, of which a strong view draws one; none: a strong view is a resize and a flip."""
    rotate_degrees: float = 30.0
    """Largest rotation either way, in degrees."""
    shear_degrees: float = 30.0
    """Largest shear either way, in degrees."""
    translate_fraction: float = 0.1
    """Largest shift either way, as a fraction of the view's width or height."""
    border_value: int = 128
    """Grey level that a geometric operation leaves where the image does not reach."""
    interpolation: Interpolation = "linear"
    """linear: one bilinear sample a view, boxes move exactly as pixels do; better than the published code.
    reference: its geometry, with nearest partners and tiles and boxes up to a pixel beside their pixels."""

    def __post_init__(self) -> None:
        """Refuse values that no view can be made with."""
        _ordered("short_range", self.short_range, low=1)
        _at_least("long_max", self.long_max, 1)
        _within("flip", self.flip, 0.0, 1.0)
        _at_least("test_short", self.test_short, 1)
        _at_least("test_long_max", self.test_long_max, 1)
        _chosen_from("colour_ops", self.colour_ops, COLOUR_OPS)
        _ordered("enhance_range", self.enhance_range, low=0.0)
        _ordered("posterize_range", self.posterize_range, low=0)
        _within("posterize_range", self.posterize_range[1], 0, 8)
        _ordered("solarize_range", self.solarize_range, low=0.0)
        _chosen_from("geometric_ops", self.geometric_ops, GEOMETRIC_OPS)
        _within("rotate_degrees", self.rotate_degrees, 0.0, 180.0)
        _within("shear_degrees", self.shear_degrees, 0.0, 80.0)
        _within("translate_fraction", self.translate_fraction, 0.0, 1.0)
        _within("border_value", self.border_value, 0, 255)
        _chosen_from("interpolation", (self.interpolation,), get_args(Interpolation))


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewSettings(ViewChoices):
    """How one image becomes a weak, strong, labeled or test view."""

    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    """Mean of red, green and blue that normalisation subtracts, 0-255 scale (ImageNet)."""
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    """Standard deviation that normalisation divides by, 0-255 scale (ImageNet)."""
    pad_multiple: int = 32
    """Batches are padded at the bottom and right to a multiple of this many pixels."""
    resize: Resize = "short_side"
    """short_side: a view keeps the ratio of its image's sides. square: its sides are both what the short side is
    drawn as (at most the longest side), to the nearest multiple of `pad_multiple`."""

    def __post_init__(self) -> None:
        """Refuse values that no view can be made with."""
        ViewChoices.__post_init__(self)  # `super()` does not know the class that `slots` makes anew
        if not all(value > 0 for value in self.std):
            raise ConfigError(f"std: got {self.std}, expected three numbers above 0")
        _at_least("pad_multiple", self.pad_multiple, 1)
        _chosen_from("resize", (self.resize,), get_args(Resize))


@dataclass(frozen=True, kw_only=True, slots=True)
class MixSettings:
    """How strong views become the student's images: erase, Pseudo-Mixup, Pseudo-Mosaic."""

    mixup: bool = True
    """Mix every strong view with a cached one."""
    mosaic: bool = True
    """Make one image of four cached ones, each step."""
    erase: bool = True
    """Erase patches of every image that the student sees."""
    cache: int = 8
    """Fewest strong views kept for mixing; see `capacity`."""
    mosaic_range: tuple[int, int] = (400, 800)
    """Height and width in pixels that a mosaic's tiles must fit, drawn once a mosaic, the end excluded."""
    mosaic_multiple: int = 16
    """A mosaic's quadrant is its largest tile, rounded up to a multiple of this many pixels."""
    erase_patches: tuple[int, int] = (1, 19)
    """Fewest and most patches erased in one image, both included."""
    erase_ratio: tuple[float, float] = (0.0, 0.1)
    """A patch is this fraction of the image high and wide; one draw a patch."""
    drop_ratio: float = 0.7
    """A box is dropped once patches cover this share of it, overlaps of patches counted twice."""
    weights: tuple[float, float] = (0.5, 0.5)
    """Weight of the current view and of its partner in a mixup image."""

    def __post_init__(self) -> None:
        """Refuse values that no image can be mixed with."""
        _at_least("cache", self.cache, MOSAIC_TILES)
        _ordered("mosaic_range", self.mosaic_range, low=1)
        if self.mosaic_range[0] == self.mosaic_range[1]:
            raise ConfigError(f"mosaic_range: got {self.mosaic_range}, expected an end above the start")
        _at_least("mosaic_multiple", self.mosaic_multiple, 1)
        _ordered("erase_patches", self.erase_patches, low=0)
        _ordered("erase_ratio", self.erase_ratio, low=0.0)
        _within("erase_ratio", self.erase_ratio[1], 0.0, 1.0)
        _at_least("drop_ratio", self.drop_ratio, 0.0)
        if not all(0 < weight <= 1 for weight in self.weights):
            raise ConfigError(f"weights: got {self.weights}, expected two numbers above 0, at most 1")

    def capacity(self, batch_size: int) -> int:
        """Return how many strong views the cache holds for batches of `batch_size` unlabeled images.

        The oldest `batch_size` are mixup partners, the four after them mosaic tiles.
        """
        return max(self.cache, batch_size + MOSAIC_TILES)


def _at_least(field: str, value: float, low: float) -> None:
    if not value >= low:
        raise ConfigError(f"{field}: got {value}, expected at least {low}")


def _within(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{field}: got {value}, expected {low} to {high}")


def _ordered(field: str, value: tuple[float, float], *, low: float) -> None:
    if not low <= value[0] <= value[1]:
        raise ConfigError(f"{field}: got {value}, expected two ascending numbers from {low} on")


def _chosen_from(field: str, value: tuple[str, ...], choices: tuple[str, ...]) -> None:
    for name in value:
        if name not in choices:
            raise ConfigError(f"{field}: got {name!r}, expected any of {', '.join(choices)}")
