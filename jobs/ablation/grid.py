"""A declared grid of training runs: a recipe, axes of options, seeds.

In: a TOML file, or the name of one in `jobs/recipes/grids/`. Out: `Grid`: every cell with the arguments of
`mixpl train` that make it. Guaranteed: names of cells are safe names of folders and differ; a key that a grid does
not have is an error that names it.

    recipe = "coco-partial"          what every run starts from, as the first argument of `mixpl train`
    seeds = [0, 1, 2]                a run of every cell for each
    baseline = {mixing = "off"}      a cell is compared with the one of these values and its own other ones;
                                     left out: every cell with the first one
    [options]                        for all runs, as on the command line
    "data.test" = "data/val"
    [axes.mixing.off]                an axis has named values, each with its options
    "mix.mixup" = false
    [axes.mixing.on]
    [axes]
    "pseudo.score-threshold" = [0.5, 0.7]    or is one option with a list of values
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage import files
from storage.errors import ConfigError

GRIDS = Path(__file__).parent.parent / "recipes" / "grids"
"""The grids that have a name."""
KEYS = ("recipe", "seeds", "baseline", "options", "axes")
COLUMNS = ("run", "cell", "seed", "dataset", "step", "class", "metric", "value")
"""Names that no axis can have: columns of the table."""

Options = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One point of the grid, which is trained once a seed."""

    name: str
    values: Mapping[str, str]
    """The value of each axis, by the axis's name."""
    options: Options
    reference: str
    """Name of the cell that it is compared with."""

    def run(self, seed: int) -> str:
        """Return the name of the folder of a run."""
        return f"{self.name},seed={seed}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """All runs that were declared."""

    recipe: str
    seeds: tuple[int, ...]
    axes: tuple[str, ...]
    cells: tuple[Cell, ...]

    def arguments(self, cell: Cell, seed: int, out: str) -> list[str]:
        """Return what `mixpl train` is to be given for a run."""
        options = {**cell.options, "out": files.join(out, cell.run(seed)), "seed": seed}
        return [self.recipe, *itertools.chain.from_iterable(map(_arguments, options, options.values()))]


def read_grid(
    name: str, *, recipe: str | None = None, options: Options | None = None, seeds: Sequence[int] = ()
) -> Grid:
    """Return the grid of a file or of a name; `recipe`, `options` and `seeds` stand above its own.

    Raises ConfigError for a file that is no grid.
    """
    path = GRIDS / f"{name}.toml" if not name.endswith(".toml") else Path(name)
    try:
        table = tomllib.loads(files.read_bytes(str(path)).decode("utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(grid.stem for grid in GRIDS.glob("*.toml")))
        raise ConfigError(f"expected a grid ({known}) or a .toml file, got {name!r}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected TOML, got {error}; repair the file") from None
    try:
        return _grid(table, recipe=recipe, options=options or {}, seeds=seeds)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _grid(table: dict[str, Any], *, recipe: str | None, options: Options, seeds: Sequence[int]) -> Grid:
    for key in table:
        if key not in KEYS:
            raise ConfigError(f"unknown key {key!r}; valid keys: {', '.join(KEYS)}")
    axes = {name: _values(name, values) for name, values in _mapping(table, "axes").items()}
    if not axes:
        raise ConfigError("expected axes, got none; write [axes.NAME.VALUE] tables with options")
    common = {**_dashed(_mapping(table, "options"))}
    baseline = _baseline(axes, table)
    cells = tuple(
        _cell(
            axes, dict(zip(axes, names, strict=True)), baseline, {"common": common, "over": _dashed(options)}
        )
        for names in itertools.product(*axes.values())
    )
    if len({cell.name for cell in cells}) < len(cells):
        raise ConfigError("expected values of different names, got two cells of the same; rename a value")
    seeds = list(seeds) or table.get("seeds", [0])
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise ConfigError(f"expected seeds as a list of whole numbers, got {seeds!r}")
    starts_from = recipe or table.get("recipe")
    if not isinstance(starts_from, str):
        raise ConfigError('expected recipe, got none; write recipe = "coco-partial", or give --recipe')
    return Grid(
        recipe=starts_from,
        seeds=tuple(dict.fromkeys(seeds)),
        axes=tuple(axes),
        cells=cells,
    )


def _values(axis: str, values: object) -> dict[str, Options]:
    """Return the options of each value of an axis."""
    if axis in COLUMNS:
        raise ConfigError(f"expected an axis that is no column of the table, got {axis!r}; rename it")
    match values:
        case list() if values:
            return {_shown(value): {axis: value} for value in values}
        case dict() if values and all(isinstance(options, dict) for options in values.values()):
            return values
        case _:
            raise ConfigError(f"expected a list of values or [axes.{axis}.VALUE] tables, got {values!r}")


def _baseline(axes: Mapping[str, Mapping[str, Options]], table: Mapping[str, Any]) -> dict[str, str]:
    """Return the values that a cell is compared with, by axis."""
    baseline = _mapping(table, "baseline") or {axis: next(iter(values)) for axis, values in axes.items()}
    for axis, value in baseline.items():
        if value not in axes.get(axis, ()):
            known = "; ".join(f"{name}: {', '.join(values)}" for name, values in axes.items())
            raise ConfigError(f"expected values of axes as baseline ({known}), got {axis} = {value!r}")
    return baseline


def _cell(
    axes: Mapping[str, Mapping[str, Options]],
    values: Mapping[str, str],
    baseline: Mapping[str, str],
    options: Mapping[str, Options],
) -> Cell:
    """Return a cell; of its options those of its values stand above the common ones, and `over` above all."""
    chosen = dict(options["common"])
    for axis, value in values.items():
        chosen |= _dashed(axes[axis][value])
    return Cell(
        name=_name(values),
        values=values,
        options={**chosen, **options["over"]},
        reference=_name({**values, **baseline}),
    )


def _name(values: Mapping[str, str]) -> str:
    """Return the name of a cell: its value, or where there are several axes `axis=value,…`."""
    if len(values) == 1:
        (name,) = values.values()
    else:
        name = ",".join(f"{axis.rsplit('.', 1)[-1]}={value}" for axis, value in values.items())
    return re.sub(r"[^\w.,=+-]", "_", name)


def _dashed(options: Options) -> dict[str, Any]:
    """Return options as the command line writes them, so that both ways to write one are the same."""
    return {name.replace("_", "-"): value for name, value in options.items()}


def _mapping(table: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise ConfigError(f"expected {key} as a table, got {value!r}")
    return value


def _shown(value: object) -> str:
    return "-".join(map(str, value)) if isinstance(value, list) else str(value)


def _arguments(name: str, value: object) -> list[str]:
    """Return an option as the command line takes it: `--mix.no-mixup`, `--mix.mosaic-range 400 800`."""
    match value:
        case bool():
            *folders, last = name.split(".")
            return ["--" + ".".join([*folders, last if value else f"no-{last}"])]
        case list():
            return [f"--{name}", *map(str, value)]
        case _:
            return [f"--{name}", str(value)]
