"""`mixpl prepare`: the data sets of a published setting, in one command, from the folders as they are downloaded.

In: the folder where COCO or Pascal VOC was unpacked, the setting, percents and folds. Out: shards below one folder,
and the `mixpl train` command that uses them. Nothing is begun before everything that is needed is there; killed
and run again it continues.

    coco-partial  1, 2, 5, 10 % of train2017 labeled, the rest unlabeled, tested on val2017
    coco-full     train2017 labeled, unlabeled2017 unlabeled, tested on val2017
    voc           VOC2007 trainval labeled, VOC2012 trainval unlabeled, tested on VOC2007 test
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from shlex import quote
from typing import Literal

import tyro

from jobs.recipes.scaling import PUBLISHED_GPUS
from jobs.shard import ShardConfig, shard
from jobs.split import SplitConfig, split
from storage import files
from storage.errors import ConfigError

COCO_ARCHIVES = "train2017.zip, val2017.zip, annotations_trainval2017.zip"
UNLABELED_ARCHIVES = "unlabeled2017.zip, image_info_unlabeled2017.zip"
VOC_ARCHIVES = "VOCtrainval_06-Nov-2007.tar, VOCtest_06-Nov-2007.tar, VOCtrainval_11-May-2012.tar"


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareConfig:
    """Make the data sets of a published setting from the folders you downloaded."""

    setting: tyro.conf.Positional[Literal["coco-partial", "coco-full", "voc"]]
    """Which setting."""
    root: str
    """Where it was unpacked: the folder with annotations/ and train2017/ (or images/train2017/), or VOCdevkit."""
    out: str = "data"
    """Folder to write below."""
    percent: tuple[float, ...] = (10.0,)
    """COCO partial: percents of labeled images, each with every fold."""
    fold: tuple[int, ...] = (1,)
    """COCO partial: folds."""
    family: Literal["published", "exact"] = "published"
    """COCO partial: the draw behind published figures (with replacement), or without replacement."""
    per_shard: int = 256
    """Images in one shard."""
    workers: int = 2
    """Processes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """The data sets of one training run, and the recipe that uses them."""

    recipe: str
    labeled: str
    unlabeled: str
    test: str

    def command(self) -> str:
        """Return how to train on them."""
        return (
            f"mixpl train {self.recipe} --data.labeled {quote(self.labeled)} "
            f"--data.unlabeled {quote(self.unlabeled)} --data.test {quote(self.test)}"
        )


def prepare(config: PrepareConfig) -> list[Prepared]:
    """Write the data sets of a setting and return where they lie, one value for each training run.

    Raises ConfigError naming all that is missing before anything is written.
    """
    match config.setting:
        case "coco-partial":
            prepared = _coco_partial(config)
        case "coco-full":
            prepared = [_coco_full(config)]
        case "voc":
            prepared = [_voc(config)]
    print("train with")
    for data in prepared:
        print(f"  {data.command()}")
    print(f"on {PUBLISHED_GPUS} GPUs, under torchrun; for one add -1gpu to the recipe's name")
    return prepared


def _coco_partial(config: PrepareConfig) -> list[Prepared]:
    if not config.percent or not config.fold:
        raise ConfigError("expected at least one --percent and one --fold, got none")
    images = _coco_folders(config, ("train2017", "val2017"), ("instances_train2017", "instances_val2017"))
    annotations = files.join(config.root, "annotations", "instances_train2017.json")
    test = _coco_test(config, images["val2017"])
    prepared = []
    for percent in config.percent:
        for fold in config.fold:
            out = files.join(config.out, f"coco-{percent:g}-fold-{fold}")
            parts = files.join(out, "split")
            split(
                SplitConfig(
                    annotations=annotations, out=parts, percent=percent, fold=fold, family=config.family
                )
            )
            base = _base(config, images=images["train2017"])
            truth = files.join(parts, "unlabeled-truth.json")
            prepared.append(
                Prepared(
                    recipe=config.setting,
                    labeled=_shard(base, files.join(parts, "labeled.json"), out, "labeled"),
                    unlabeled=_shard(
                        replace(base, hidden_truth=truth),
                        files.join(parts, "unlabeled.json"),
                        out,
                        "unlabeled",
                    ),
                    test=test,
                )
            )
    return prepared


def _coco_full(config: PrepareConfig) -> Prepared:
    names = ("train2017", "val2017", "unlabeled2017")
    images = _coco_folders(
        config, names, ("instances_train2017", "instances_val2017", "image_info_unlabeled2017")
    )
    annotations, out = files.join(config.root, "annotations"), files.join(config.out, "coco-full")
    labeled = files.join(annotations, "instances_train2017.json")
    unlabeled = files.join(annotations, "image_info_unlabeled2017.json")
    return Prepared(
        recipe=config.setting,
        labeled=_shard(_base(config, images=images["train2017"]), labeled, out, "labeled"),
        unlabeled=_shard(_base(config, images=images["unlabeled2017"]), unlabeled, out, "unlabeled"),
        test=_coco_test(config, images["val2017"]),
    )


def _voc(config: PrepareConfig) -> Prepared:
    inside = files.join(config.root, "VOCdevkit")
    root = inside if files.exists(inside) else config.root
    lists = (("VOC2007", "trainval"), ("VOC2012", "trainval"), ("VOC2007", "test"))
    _require(
        [files.join(root, year, "ImageSets", "Main", f"{name}.txt") for year, name in lists], VOC_ARCHIVES
    )
    out, base = files.join(config.out, "voc"), replace(_base(config), format="voc")
    first, second = (files.join(root, year) for year in ("VOC2007", "VOC2012"))
    return Prepared(
        recipe=config.setting,
        labeled=_shard(replace(base, subset="trainval"), first, out, "labeled"),
        unlabeled=_shard(replace(base, subset="trainval", unlabeled=True), second, out, "unlabeled"),
        test=_shard(replace(base, subset="test"), first, out, "test"),
    )


def _coco_test(config: PrepareConfig, images: str) -> str:
    annotations = files.join(config.root, "annotations", "instances_val2017.json")
    return _shard(_base(config, images=images), annotations, config.out, "coco-val")


def _coco_folders(config: PrepareConfig, names: Sequence[str], annotations: Sequence[str]) -> dict[str, str]:
    """Return the image folders by name, once all that is needed is there."""
    nested = files.join(config.root, "images")
    parent = nested if files.exists(nested) else config.root
    folders = {name: files.join(parent, name) for name in names}
    needed = [files.join(config.root, "annotations", f"{name}.json") for name in annotations]
    more = f", {UNLABELED_ARCHIVES}" if "unlabeled2017" in names else ""
    _require([*needed, *folders.values()], COCO_ARCHIVES + more)
    return folders


def _require(locations: Sequence[str], archives: str) -> None:
    missing = [location for location in locations if not files.exists(location)]
    if missing:
        raise ConfigError(
            f"expected the unpacked {archives}, got no {', no '.join(missing)}; download what is missing, or name "
            "the folder above it as --root"
        )


def _base(config: PrepareConfig, *, images: str | None = None) -> ShardConfig:
    return ShardConfig(
        source="", out="", images=images, format="coco", per_shard=config.per_shard, workers=config.workers
    )


def _shard(base: ShardConfig, source: str, out: str, name: str) -> str:
    """Write one data set and return where it lies."""
    return shard(replace(base, source=source, out=files.join(out, name), name=name)).root
