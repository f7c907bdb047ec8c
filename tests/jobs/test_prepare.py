"""`mixpl prepare`: the published settings from folders laid out as they are downloaded, each in one command."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs import cli
from jobs.prepare import PrepareConfig, prepare
from storage.dataset.dataset import Dataset
from storage.splits.draw_split import draw_split
from storage.tables.label_table import table_labels
from storage.tables.truth_table import table_difficult


def config(setting: str, root: Path, **changes: object) -> PrepareConfig:
    base = {"setting": setting, "root": str(root), "out": str(root.parent / "data"), "workers": 1}
    return PrepareConfig(**base | changes)  # type: ignore[arg-type]


def test_coco_partial_gives_each_percent_and_fold_the_published_draw(coco: Path) -> None:
    prepared = prepare(config("coco-partial", coco, percent=(10.0, 20.0), fold=(1, 2)))
    assert [Path(one.labeled).parent.name for one in prepared] == [
        "coco-10-fold-1", "coco-10-fold-2", "coco-20-fold-1", "coco-20-fold-2",
    ]  # fmt: skip
    for one, (percent, fold) in zip(prepared, ((10, 1), (10, 2), (20, 1), (20, 2)), strict=True):
        drawn = draw_split(range(40), family="published", percent=percent, fold=fold)
        labeled, unlabeled = Dataset.open(one.labeled), Dataset.open(one.unlabeled)
        assert tuple(labeled.images()["image_id"].to_pylist()) == drawn.labeled_ids
        assert tuple(unlabeled.images()["image_id"].to_pylist()) == drawn.unlabeled_ids
        assert (labeled.labeled, unlabeled.labeled, unlabeled.has_hidden_truth) == (True, False, True)
        assert labeled.split is not None
        assert labeled.split["hash"] == drawn.hash
    assert {one.test for one in prepared} == {str(coco.parent / "data/coco-val")}
    assert Dataset.open(prepared[0].test).num_images == 4


def test_coco_full_takes_its_unlabeled_images_from_the_other_file(
    coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        cli.run(["prepare", "coco-full", "--root", str(coco), "--out", str(coco / "out"), "--workers", "1"])
        == 0
    )
    sets = [
        Dataset.open(str(coco / "out" / name))
        for name in ("coco-full/labeled", "coco-full/unlabeled", "coco-val")
    ]
    assert [(one.num_images, one.labeled) for one in sets] == [(40, True), (6, False), (4, True)]
    assert sets[1].classes == sets[0].classes
    assert f"--data.unlabeled {coco}/out/coco-full/unlabeled" in capsys.readouterr().out


def test_images_may_lie_in_a_folder_of_their_own(coco: Path) -> None:
    (coco / "images").mkdir()
    for name in ("train2017", "val2017"):
        (coco / name).rename(coco / "images" / name)
    (one,) = prepare(config("coco-partial", coco))
    assert Dataset.open(one.labeled).num_images == 4


def test_voc_is_trained_on_2007_and_2012_and_tested_on_2007(voc: Path) -> None:
    (one,) = prepare(config("voc", voc))
    labeled, unlabeled, test = (Dataset.open(place) for place in (one.labeled, one.unlabeled, one.test))
    assert labeled.images()["image_id"].to_pylist() == [1, 2]
    assert unlabeled.images()["image_id"].to_pylist() == [2008000001]
    assert test.images()["image_id"].to_pylist() == [3]
    assert (labeled.labeled, unlabeled.labeled, test.labeled) == (True, False, True)
    assert labeled.classes == unlabeled.classes == test.classes
    assert (labeled.num_boxes, test.num_boxes) == (2, 1)
    hidden = unlabeled.hidden_truth()
    assert hidden is not None
    for store in (test.ground_truth(), hidden):
        assert table_labels(store.read_all()).counts().tolist() == [1]
        assert table_difficult(store.read_all()).counts().tolist() == [1]


def test_the_same_command_again_finds_everything_there(
    coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = prepare(config("coco-partial", coco))
    capsys.readouterr()
    assert prepare(config("coco-partial", coco)) == first
    assert capsys.readouterr().out.count("(was complete)") == 3


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("coco-partial", ["no ", "instances_val2017.json, no ", "/val2017;", "val2017.zip"]),
        ("coco-full", ["instances_val2017.json", "image_info_unlabeled2017.zip"]),
        ("voc", ["VOC2012/ImageSets/Main/trainval.txt", "VOCtrainval_11-May-2012.tar"]),
    ],
)
def test_all_that_is_missing_is_named_before_anything_is_written(
    coco: Path, setting: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (coco / "annotations/instances_val2017.json").unlink()
    for image in (coco / "val2017").iterdir():
        image.unlink()
    (coco / "val2017").rmdir()
    assert cli.run(["prepare", setting, "--root", str(coco), "--out", str(coco / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert all(word in said for word in words)
    assert not (coco / "out").exists()
