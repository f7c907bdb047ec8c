"""The score threshold of a run is the one asked for, or the one of the detector that the command line names."""

from __future__ import annotations

import re
import typing

import pytest
import tyro

from jobs.cli import run
from jobs.recipes.choose_recipe import DRAWN, PUBLISHED, choose_recipe
from jobs.recipes.score_threshold import resolve_score_threshold
from jobs.recipes.train_config import TrainConfig
from model.detectors.build import DetectorName, spec_of


def resolved(*arguments: str) -> float | None:
    """Return what `mixpl train` makes of a command line."""
    recipe, rest = choose_recipe(arguments)
    config = tyro.cli(TrainConfig, default=recipe.config, args=list(rest))
    return resolve_score_threshold(config).pseudo.score_threshold


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
    config = resolve_score_threshold(TrainConfig())
    assert resolve_score_threshold(config) == config


def test_the_help_names_the_threshold_of_every_detector(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["train", "--help"])
    printed = " ".join(re.sub(r"[│|]", " ", capsys.readouterr().out).split())
    for name in typing.get_args(DetectorName):
        assert f"{spec_of(name).score_threshold} for {name}" in printed
