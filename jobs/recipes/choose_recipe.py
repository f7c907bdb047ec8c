"""Which run is meant: a recipe's name, or the path of a run's `config.json`.

`mixpl train RECIPE --key value …` starts from a recipe, a function that returns the whole configuration; the path
of a run's `config.json` is accepted in its place, so that any run can be repeated.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Sequence
from pathlib import Path

from jobs.recipes import config_file
from jobs.recipes.coco import coco_partial
from jobs.recipes.drawn import small, tiny
from jobs.recipes.train_config import TrainConfig
from storage.errors import ConfigError

RECIPES: dict[str, Callable[[], TrainConfig]] = {"coco-partial": coco_partial, "tiny": tiny, "small": small}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A configuration and the name that it was asked for by."""

    name: str
    config: TrainConfig


def choose_recipe(arguments: Sequence[str]) -> tuple[Recipe, Sequence[str]]:
    """Split the arguments of `mixpl train` into the recipe that the first one names and the rest.

    The first argument is a recipe's name or the path of a `config.json`. Raises ConfigError for anything else.
    """
    if not arguments or arguments[0].startswith("-"):
        if any(flag in arguments for flag in ("-h", "--help")):
            return Recipe(name="coco-partial", config=coco_partial()), arguments
        raise ConfigError(
            f"expected a recipe ({', '.join(RECIPES)}) or a run's config.json as first argument"
        )
    return Recipe(name=arguments[0], config=recipe_config(arguments[0])), arguments[1:]


def recipe_config(name: str) -> TrainConfig:
    """Return the configuration of a recipe's name or of a `config.json`."""
    if name in RECIPES:
        return RECIPES[name]()
    if name.endswith(".json"):
        return config_file.from_json(TrainConfig, config_file.read_text(Path(name)), where=name)
    if (Path(name) / "config.json").exists():
        raise ConfigError(
            f"expected a recipe or a file, got a run's folder: {name}; name {name.rstrip('/')}/config.json"
        )
    close = difflib.get_close_matches(name, RECIPES, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"the recipes are {', '.join(RECIPES)}"
    raise ConfigError(f"unknown recipe '{name}'; {hint}")
