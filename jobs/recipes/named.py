"""Named training runs: each a function that returns the whole configuration.

`mixpl train RECIPE --key value …` starts from one; the path of a run's `config.json` is accepted in its place,
so that any run can be repeated. A recipe's docstring holds its command, time and expected result.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Sequence
from pathlib import Path

from jobs.recipes import config_file
from jobs.recipes.train_config import (
    DataConfig,
    LogConfig,
    ModelConfig,
    OptimConfig,
    ResamplingConfig,
    TeacherConfig,
    TrainConfig,
)
from model.method.gate import SemiSupervisedSettings
from pipeline.settings import MixSettings, ViewSettings
from storage.errors import ConfigError


def coco_partial() -> TrainConfig:
    """COCO partial with Faster R-CNN ResNet-50 FPN: the paper's setting (arXiv 2312.07006, section 4.1).

    `mixpl train coco-partial --data.labeled data/coco-10/labeled --data.unlabeled data/coco-10/unlabeled`.
    Per process 1 labeled and 4 unlabeled images, 180,000 steps; the paper used 8 GPUs and reports 37.2 mAP with
    10 % labels. Not run here: neither COCO nor the ImageNet weights are part of this project.
    """
    return TrainConfig()


def tiny() -> TrainConfig:
    """The drawn data set at 64 px with the compact FCOS: what the demo and the tests train.

    `mixpl train tiny --data.labeled demo/labeled --data.unlabeled demo/unlabeled`: see EXPERIMENTS.md for time
    and result.
    """
    return _drawn(size=64, steps=1800, burn_in=600)


def small() -> TrainConfig:
    """The drawn data set at 96 px with the compact FCOS.

    `mixpl train small --data.labeled data/small/labeled --data.unlabeled data/small/unlabeled`.
    """
    return _drawn(size=96, steps=2300, burn_in=800)


def _drawn(*, size: int, steps: int, burn_in: int) -> TrainConfig:
    """Return the recipe for square images of `size` px that are trained from scratch.

    Sizes keep the paper's proportions to a much narrower range, as objects are already small.
    """
    return TrainConfig(
        steps=steps,
        burn_in=burn_in,
        threads=1,  # the network is too small for more, and DALI works beside it
        data=DataConfig(batch_labeled=4, batch_unlabeled=4),
        view=ViewSettings(
            short_range=(round(0.75 * size), round(1.25 * size)),
            long_max=round(1.25 * size),
            test_short=size,
            test_long_max=round(1.25 * size),
        ),
        mix=MixSettings(mosaic_range=(round(0.75 * size), round(1.25 * size))),
        model=ModelConfig(name="fcos-compact", weights="none"),
        pseudo=SemiSupervisedSettings(score_threshold=0.5, unsup_weight=1.0),
        teacher=TeacherConfig(warmup=10.0, interval=1),
        optim=OptimConfig(name="adamw", lr=3e-3, weight_decay=0.05, warmup_steps=50, clip=10.0),
        resampling=ResamplingConfig(threshold=0.3),
        log=LogConfig(metrics=50, checkpoint=500, evaluate=200, online_labels=50),
    )


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
        path = Path(name)
        if not path.exists():
            raise ConfigError(f"{path}: no such file; a run keeps its configuration in RUN/config.json")
        return config_file.from_json(TrainConfig, path.read_text(encoding="utf-8"), where=str(path))
    if (Path(name) / "config.json").exists():
        raise ConfigError(
            f"expected a recipe or a file, got a run's folder: {name}; name {name.rstrip('/')}/config.json"
        )
    close = difflib.get_close_matches(name, RECIPES, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"the recipes are {', '.join(RECIPES)}"
    raise ConfigError(f"unknown recipe '{name}'; {hint}")
