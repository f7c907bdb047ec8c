"""Score threshold and input of a run are those asked for, or those of the detector that the command line names."""

from __future__ import annotations

import dataclasses
import json
import re
import typing

import pytest
import tyro

from jobs.cli import run
from jobs.recipes import config_file
from jobs.recipes.choose_recipe import DRAWN, PUBLISHED, choose_recipe
from jobs.recipes.detector_defaults import require_padding, resolve_detector, view_settings
from jobs.recipes.train_config import TrainConfig
from model.detector import IMAGENET_STD, Detector
from model.detectors.build import build_detector, input_spec, spec_of
from model.detectors.spec import DetectorName
from storage.errors import ConfigError


def config_of(*arguments: str) -> TrainConfig:
    """Return what `mixpl train` makes of a command line."""
    recipe, rest = choose_recipe(arguments)
    return resolve_detector(tyro.cli(TrainConfig, default=recipe.config, args=list(rest)))


def resolved(*arguments: str) -> float | None:
    return config_of(*arguments).pseudo.score_threshold


def test_a_recipe_has_the_threshold_of_its_detector() -> None:
    assert [resolved(name) for name in PUBLISHED] == [0.7] * len(PUBLISHED)
    assert [resolved(name) for name in DRAWN] == [0.5, 0.5]


@pytest.mark.parametrize("name", typing.get_args(DetectorName))
def test_another_detector_on_the_command_line_brings_its_own_threshold(name: DetectorName) -> None:
    assert resolved("coco-partial", "--model.name", name) == spec_of(name).score_threshold


def test_a_threshold_that_is_asked_for_stays_with_any_detector() -> None:
    asked = ("--pseudo.score-threshold", "0.4")
    assert resolved("coco-partial", *asked) == 0.4
    assert resolved("coco-partial", *asked, "--model.name", "fcos-compact") == 0.4
    assert resolved("tiny", "--pseudo.score-threshold", "0") == 0.0


def test_what_is_resolved_stays_as_it_is() -> None:
    config = resolve_detector(TrainConfig())
    assert resolve_detector(config) == config


@pytest.mark.parametrize("name", typing.get_args(DetectorName))
def test_the_views_of_a_run_are_those_of_the_detector_that_the_command_line_names(name: DetectorName) -> None:
    config = config_of("coco-partial", "--model.name", name, "--model.weights", "none")
    of_detector = dataclasses.asdict(input_spec(name))
    assert {field: getattr(config.view, field) for field in of_detector} == of_detector
    assert dataclasses.asdict(view_settings(config)) == dataclasses.asdict(config.view)


def test_batch_norm_goes_by_the_detector_and_where_its_weights_are_from() -> None:
    def norm(*words: str) -> str | None:
        return config_of("coco-partial", *words).model.norm

    assert norm("--model.name", "rtdetr-v2", "--model.weights", "none") == "live"
    assert norm("--model.name", "rtdetr-v2", "--model.weights", "coco") == "frozen"
    assert norm("--model.name", "rtdetr-v2", "--model.weights", "coco", "--model.norm", "live") == "live"
    assert norm("--model.name", "fasterrcnn-v2-resnet50") == "live"
    assert norm("--model.name", "fcos-compact", "--model.weights", "none") is None


def test_an_input_that_is_asked_for_stays() -> None:
    view = config_of("tiny", "--view.pad-multiple", "64", "--view.mean", "1", "2", "3").view
    assert (view.pad_multiple, view.mean, view.std) == (64, (1, 2, 3), IMAGENET_STD)


def test_a_config_of_before_the_input_went_by_the_detector_is_still_read() -> None:
    old = json.loads(config_file.to_json(resolve_detector(TrainConfig())))
    for part, field in (("view", "resize"), ("model", "norm"), ("model", "size")):
        del old[part][field]
    config = config_file.from_json(TrainConfig, json.dumps(old), where="config.json")
    assert resolve_detector(config) == resolve_detector(TrainConfig())


def test_padding_that_the_detector_cannot_take_is_refused() -> None:
    fcos: Detector = build_detector("fcos-compact", num_classes=1)
    config = config_of("tiny", "--view.pad-multiple", "48")
    with pytest.raises(ConfigError, match=r"--view\.pad-multiple as a multiple of 32, .* got 48"):
        require_padding(config, fcos)
    require_padding(config_of("tiny", "--view.pad-multiple", "96"), fcos)


def test_the_help_names_the_threshold_of_every_detector(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["train", "--help"])
    printed = " ".join(re.sub(r"[│|]", " ", capsys.readouterr().out).split())
    for name in typing.get_args(DetectorName):
        assert f"{spec_of(name).score_threshold} for {name}" in printed
