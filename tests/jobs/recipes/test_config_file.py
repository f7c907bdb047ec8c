from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from jobs.recipes import config_file
from jobs.recipes.choose_recipe import RECIPES, choose_recipe, recipe_config
from jobs.recipes.drawn import tiny
from jobs.recipes.train_config import TrainConfig
from storage.errors import ConfigError


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_the_way_through_json(name: str) -> None:
    config = recipe_config(name)
    assert config_file.from_json(TrainConfig, config_file.to_json(config), where="config.json") == config


def test_an_unknown_key_is_named_with_its_nearest_valid_one() -> None:
    with pytest.raises(ConfigError, match=r"run\.json: unknown key 'optim\.learning_rate'") as caught:
        config_file.from_json(TrainConfig, '{"optim": {"learning_rate": 0.1}}', where="run.json")
    assert "valid keys" in str(caught.value)
    with pytest.raises(ConfigError, match=r"did you mean 'optim\.weight_decay'"):
        config_file.from_json(TrainConfig, '{"optim": {"weight_decy": 0.1}}', where="run.json")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": "many"}, "'steps' must be int, got 'many'"),
        ({"steps": True}, "'steps' must be int, got True"),
        ({"bf16": 1}, "'bf16' must be bool, got 1"),
        ({"arm": "mixup"}, "'arm' must be one of 'mixpl', 'mean-teacher', 'supervised', got 'mixup'"),
        (
            {"view": {"short_range": [1, 2, 3]}},
            r"'view.short_range' must be tuple\[int, int\], got \[1, 2, 3\]",
        ),
        ({"data": {"unlabeled": 3}}, r"'data.unlabeled' must be str \| None, got 3"),
        ({"steps": 0}, "--steps must be at least 1, got 0"),
        ({"seed": -1}, "--seed must be at least 0, got -1"),
        ({"log": {"keep": 0}}, "--log.keep must be at least 1, got 0"),
        ({"log": {"online_labels": -1}}, "--log.online-labels must be at least 0, got -1"),
        ({"optim": {"clip": -20.0}}, "--optim.clip must be above 0, got -20.0"),
        ({"data": []}, r"data must be an object, got \[\]"),
        (
            {"view": {"short_range": ["a", 2]}},
            r"'view.short_range' must be tuple\[int, int\], got \['a', 2\]",
        ),
        ({"pseudo": {"score_threshold": 2}}, "expected score_threshold in 0 .. 1, got 2"),
        ([], r"the file must be an object, got \[\]"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(values: object, message: str) -> None:
    with pytest.raises(ConfigError, match=f"c.json: .*{message}"):
        config_file.from_json(TrainConfig, json.dumps(values), where="c.json")


def test_a_broken_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"c\.json: expected JSON"):
        config_file.from_json(TrainConfig, "{", where="c.json")


def test_an_integer_is_taken_for_a_float() -> None:
    assert config_file.from_json(TrainConfig, '{"optim": {"lr": 1}}', where="c").optim.lr == 1.0


def test_a_limit_of_infinity_survives_the_way_through_json() -> None:
    config = dataclasses.replace(tiny(), optim=dataclasses.replace(tiny().optim, clip=float("inf")))
    assert config_file.from_json(TrainConfig, config_file.to_json(config), where="c.json") == config


def test_the_keys_of_an_older_version_are_read_as_what_they_are_called_now() -> None:
    text = '{"silence": 60, "data": {"smallest": 8, "threads": 3, "window": 64, "prefetch": 4}, "threads": 2}'
    config = config_file.from_json(TrainConfig, text, where="config.json")
    assert (config.timeout, config.threads) == (60.0, 2)
    assert (config.data.min_side, config.data.decode_threads, config.data.shuffle_window) == (8, 3, 64)
    with pytest.raises(ConfigError, match=r"'data\.decode_threads' must be int, got 'many'"):
        config_file.from_json(TrainConfig, '{"data": {"threads": "many"}}', where="config.json")


def test_every_renamed_key_leads_to_one_of_today() -> None:
    today = config_file.flatten(TrainConfig())
    assert set(config_file.RENAMED.values()) <= today.keys()
    assert not config_file.RENAMED.keys() & today.keys()


def test_a_run_can_be_repeated_from_its_config_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    config = dataclasses.replace(recipe_config("tiny"), seed=7)
    (tmp_path / "config.json").write_text(config_file.to_json(config))
    recipe, rest = choose_recipe([str(tmp_path / "config.json"), "--steps", "3"])
    assert recipe.config == config
    assert rest == ["--steps", "3"]


def test_the_folder_of_a_run_is_answered_with_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"got a run's folder: .*; name .*/config\.json"):
        choose_recipe([str(tmp_path)])


def test_an_unknown_recipe_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="unknown recipe 'tinny'; did you mean 'tiny'"):
        choose_recipe(["tinny"])
    with pytest.raises(ConfigError, match="expected a recipe"):
        choose_recipe(["--steps", "3"])
