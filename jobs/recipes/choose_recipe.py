"""Which run is meant: a recipe's name, or the path of a run's `config.json`.

`mixpl train RECIPE --key value …` starts from a recipe, a function that returns the whole configuration; the path
of a run's `config.json` is accepted in its place, so that any run can be repeated. A published recipe has as many
names as there are numbers of GPUs: `coco-partial` as published, `coco-partial-1gpu` the same for one.

Where a recipe goes by the command line (by the detector that it names), it is a draft until that is read:
`Recipe.fit` then gives the configuration, and the command line is read once more, over it.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from jobs.recipes import config_file
from jobs.recipes.asked import Asked
from jobs.recipes.coco import coco_full, coco_partial
from jobs.recipes.drawn import small, tiny
from jobs.recipes.lvis import lvis
from jobs.recipes.own.own_recipe import fit_own, own
from jobs.recipes.scaling import PUBLISHED_GPUS, for_gpus
from jobs.recipes.train_config import TrainConfig
from jobs.recipes.voc import voc
from model.detectors.spec import DetectorName
from storage.errors import ConfigError

PUBLISHED: dict[str, Callable[[DetectorName], TrainConfig]] = {
    "coco-partial": coco_partial,
    "coco-full": coco_full,
    "voc": voc,
    "lvis": lvis,
}
"""Recipes of published settings, for `PUBLISHED_GPUS` GPUs; each takes the detector."""
DRAWN: dict[str, Callable[[], TrainConfig]] = {"tiny": tiny, "small": small}
"""Recipes of the drawn data sets."""
RECIPES: dict[str, Callable[..., TrainConfig]] = {"own": own} | PUBLISHED | DRAWN
GPUS = re.compile(r"(?P<recipe>.+)-(?P<gpus>\d+)gpus?")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A configuration and the name that it was asked for by."""

    name: str
    config: TrainConfig
    fit: Callable[[Asked], TrainConfig] | None = None
    """The configuration once the command line is known; None where it changes nothing but what it names."""


def choose_recipe(arguments: Sequence[str]) -> tuple[Recipe, Sequence[str]]:
    """Split the arguments of `mixpl train` into the recipe that the first one names and the rest.

    The first argument is a recipe's name or the path of a `config.json`. Raises ConfigError for anything else.
    """
    if not arguments or arguments[0].startswith("-"):
        if any(flag in arguments for flag in ("-h", "--help")):
            return find_recipe("coco-partial"), arguments
        raise ConfigError(
            f"expected a recipe ({', '.join(RECIPES)}) or a run's config.json as first argument"
        )
    return find_recipe(arguments[0]), arguments[1:]


def recipe_config(name: str) -> TrainConfig:
    """Return the configuration of a recipe's name or of a `config.json`, with no command line."""
    return find_recipe(name).config


def find_recipe(name: str) -> Recipe:
    """Return the recipe of a name or of a `config.json`. Raises ConfigError for anything else."""
    if name == "own":
        return Recipe(name=name, config=own(), fit=fit_own)
    if name in DRAWN:
        return Recipe(name=name, config=DRAWN[name]())
    if name in PUBLISHED:
        return _published(name, PUBLISHED[name], PUBLISHED_GPUS)
    scaled = GPUS.fullmatch(name)
    if scaled is not None and scaled["recipe"] in PUBLISHED:
        return _published(name, PUBLISHED[scaled["recipe"]], int(scaled["gpus"]))
    if name.endswith(".json"):
        text = config_file.read_text(Path(name))
        return Recipe(name=name, config=config_file.from_json(TrainConfig, text, where=name))
    raise ConfigError(_no_recipe(name))


def describe_recipes() -> str:
    """Return one line for each recipe."""
    lines = [
        f"  {name:<14}{(inspect.getdoc(recipe) or '').splitlines()[0]}" for name, recipe in RECIPES.items()
    ]
    gpus = f"{', '.join(PUBLISHED)} are for {PUBLISHED_GPUS} GPUs; add -1gpu, -2gpu … for others: coco-partial-1gpu"
    return "\n".join(["Recipes, named first, or a run's config.json in their place:", *lines, "", gpus])


def _published(name: str, recipe: Callable[[DetectorName], TrainConfig], gpus: int) -> Recipe:
    def fit(asked: Asked) -> TrainConfig:
        return for_gpus(recipe(asked.config.model.name), gpus)

    return Recipe(name=name, config=for_gpus(recipe(TrainConfig().model.name), gpus), fit=fit)


def _no_recipe(name: str) -> str:
    if (Path(name) / "config.json").exists():
        return f"expected a recipe or a file, got a run's folder: {name}; name {name.rstrip('/')}/config.json"
    close = difflib.get_close_matches(name, RECIPES, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"the recipes are {', '.join(RECIPES)}"
    return f"unknown recipe '{name}'; {hint}"
