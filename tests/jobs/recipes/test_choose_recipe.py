"""Every recipe prints what it resolves to, goes by the detector that the command line names, and starts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from jobs.cli import parse, run
from jobs.prepare import PrepareConfig, prepare
from jobs.recipes import config_file
from jobs.recipes.choose_recipe import DRAWN, PUBLISHED, RECIPES, choose_recipe
from jobs.recipes.coco import coco_partial
from jobs.recipes.detector_constants import CONVOLUTIONAL
from jobs.recipes.train_config import TrainConfig
from jobs.shard import ShardConfig, shard
from model.detectors.build import spec_of
from model.detectors.spec import DetectorName
from storage.errors import ConfigError

SMALL = (
    "--steps=2", "--device=cpu", "--threads=1", "--model.weights=none", "--model.backbone=resnet18",
    "--data.batch-unlabeled=1", "--mix.mosaic-range", "32", "48", "--view.short-range", "32", "48",
    "--view.long-max=64", "--view.test-short=32", "--view.test-long-max=64",
)  # fmt: skip
"""A run of seconds on a CPU."""


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> TrainConfig:
    """Return what `mixpl train … --print-config` prints."""
    assert run(["train", *arguments, "--print-config"]) == 0
    return config_file.from_json(TrainConfig, capsys.readouterr().out, where="printed")


@pytest.mark.parametrize("name", [*PUBLISHED, *DRAWN, *(f"{name}-1gpu" for name in PUBLISHED)])
def test_every_recipe_prints_its_resolved_configuration(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = printed(capsys, name, "--optim.lr", "0.5")
    assert config.optim.lr == 0.5
    assert config.pseudo.score_threshold is not None


def test_another_detector_brings_its_own_constants_and_what_is_given_still_wins(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = printed(capsys, "coco-partial", "--model.name=fcos-compact", "--optim.clip=3")
    assert (config.model.weights, config.optim.clip, config.steps) == ("none", 3.0, 180_000)
    config = printed(capsys, "coco-full-1gpu", "--model.name", "retinanet-resnet50")
    assert (config.model.weights, config.optim.lr, config.steps) == ("imagenet", 0.00125, 5_760_000)


@pytest.mark.parametrize("name", get_args(DetectorName))
def test_every_detector_has_its_published_constants(name: DetectorName) -> None:
    config = coco_partial(name)
    assert config.model.weights in spec_of(name).weights
    adamw = (90_000, "adamw", 2e-4 if name == "deformable-detr" else 1e-4, 0.1)
    sgd = (180_000, "sgd", 0.01, 20.0)
    optim = config.optim
    assert (config.steps, optim.name, optim.lr, optim.clip) == (sgd if name in CONVOLUTIONAL else adamw)


def test_lvis_repeats_its_rare_classes(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "lvis").resampling.threshold == 1e-3


def test_a_preview_and_a_profile_go_by_the_detector_too() -> None:
    for verb in ("preview", "profile"):
        _, config = parse(verb, ["coco-partial-2gpu", "--model.name", "fcos-compact", "--optim.lr", "0.3"])
        assert (config.run.model.weights, config.run.optim.lr, config.run.optim.warmup_steps) == (
            "none",
            0.3,
            2_000,
        )


def test_the_help_lists_every_recipe_with_its_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["train", "--help"])
    text = capsys.readouterr().out
    for name in RECIPES:
        assert re.search(rf"^  {name} +\w.{{20}}", text, re.MULTILINE), name


def test_a_recipe_for_no_gpu_or_for_drawn_data_is_refused() -> None:
    with pytest.raises(ConfigError, match="1 GPU or more, got 0"):
        choose_recipe(["voc-0gpu"])
    with pytest.raises(ConfigError, match="unknown recipe 'tiny-1gpu'"):
        choose_recipe(["tiny-1gpu"])


@pytest.mark.parametrize("setting", ["coco-partial", "coco-full", "voc"])
def test_a_published_recipe_starts_on_a_miniature_of_its_data(
    setting: str, coco: Path, voc: Path, tmp_path: Path
) -> None:
    root = voc if setting == "voc" else coco
    (data,) = prepare(
        PrepareConfig(setting=setting, root=str(root), out=str(tmp_path / "data"), workers=1)  # type: ignore[arg-type]
    )
    command = data.command().split()
    assert command[:3] == ["mixpl", "train", setting]
    out = tmp_path / "run"
    assert run([*command[1:], *SMALL, "--out", str(out)]) == 0
    assert json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 2


def test_lvis_starts_on_a_miniature_and_is_scored_by_its_own_rules(coco: Path, tmp_path: Path) -> None:
    for name in ("train2017", "val2017"):
        path = coco / f"annotations/instances_{name}.json"
        document = json.loads(path.read_text())
        for image in document["images"]:
            image |= {
                "coco_url": f"http://images.cocodataset.org/{name}/{image.pop('file_name')}",
                "neg_category_ids": [], "not_exhaustive_category_ids": [],
            }  # fmt: skip
        document["categories"] = [{"id": 1, "name": "disk", "frequency": "r"}]
        path.write_text(json.dumps(document))
    sets = {
        "labeled": "instances_train2017",
        "unlabeled": "image_info_unlabeled2017",
        "test": "instances_val2017",
    }
    images = {"unlabeled": str(coco / "unlabeled2017")}
    for name, source in sets.items():
        shard(
            ShardConfig(
                source=f"{coco}/annotations/{source}.json",
                images=images.get(name, str(coco)),
                out=str(tmp_path / name),
                workers=1,
            )
        )
    flags = [f"--data.{name}={tmp_path / name}" for name in sets]
    out = tmp_path / "run"
    assert run(["train", "lvis", *flags, *SMALL, "--out", str(out)]) == 0
    assert list((out / "evaluations").iterdir())
