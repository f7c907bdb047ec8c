"""`mixpl split`: the same images for the same arguments, no truth in the unlabeled part, no silent overwrite."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jobs import cli
from jobs.split import SplitConfig, split
from storage.errors import ConfigError, StoreError
from storage.readers.coco import read_coco
from tests.together import TRIALS, together

PARTS = ("labeled", "unlabeled", "unlabeled-truth", "split")


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    document = {
        "images": [
            {"id": number, "file_name": f"{number}.jpg", "width": 9, "height": 9} for number in range(1, 201)
        ],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1, "bbox": [1, 1, 3, 3]}
            for number in range(1, 202)
        ],
        "categories": [{"id": 1, "name": "disk"}],
    }
    path = tmp_path / "all.json"
    path.write_text(json.dumps(document))
    return path


def read(folder: Path, part: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / f"{part}.json").read_text())
    return document


def test_the_parts_hold_the_images_that_the_split_names(annotations: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    drawn = split(SplitConfig(annotations=str(annotations), out=str(out), percent=10))
    description = read(out, "split")
    assert description["hash"] == drawn.hash
    assert description["num_labeled"] == 20
    for part, ids in (
        ("labeled", "labeled_ids"),
        ("unlabeled", "unlabeled_ids"),
        ("unlabeled-truth", "unlabeled_ids"),
    ):
        assert [image["id"] for image in read(out, part)["images"]] == description[ids]
    assert "annotations" not in read(out, "unlabeled")
    assert len(read(out, "labeled")["annotations"]) == 20


def test_the_command_says_what_it_did_and_what_it_left_out(
    annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = [
        "split",
        str(annotations),
        "--out",
        str(out),
        "--percent",
        "50",
        "--family",
        "published",
        "--fold",
        "2",
    ]
    assert cli.run(arguments) == 0
    said = capsys.readouterr().out
    assert "200 images, published family, fold 2" in said
    assert "100 draws of which" in said
    assert "1 x annotation of no image (dropped): annotations[200]" in said
    assert "for analysis only" in said
    assert read(out, "split")["seed"] == 2


def test_the_same_split_again_gives_the_same_bytes(annotations: Path, tmp_path: Path) -> None:
    written = []
    for out in (tmp_path / "one", tmp_path / "two", tmp_path / "one"):
        split(SplitConfig(annotations=str(annotations), out=str(out), percent=5, fold=3))
        written.append([(out / f"{part}.json").read_bytes() for part in PARTS])
    assert written[0] == written[1] == written[2]


def test_a_different_split_is_overwritten_only_when_asked(annotations: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    split(SplitConfig(annotations=str(annotations), out=str(out), percent=5))
    before = (out / "labeled.json").read_bytes()
    other = SplitConfig(annotations=str(annotations), out=str(out), percent=5, fold=2)
    with pytest.raises(ConfigError, match=r"fold is 1 instead of 2; .*--overwrite"):
        split(other)
    assert (out / "labeled.json").read_bytes() == before
    split(SplitConfig(annotations=str(annotations), out=str(out), percent=5, fold=2, overwrite=True))
    assert (out / "labeled.json").read_bytes() != before


def test_a_damaged_description_is_named_and_replaced_only_when_asked(
    annotations: Path, tmp_path: Path
) -> None:
    config = SplitConfig(annotations=str(annotations), out=str(tmp_path / "out"), percent=5)
    split(config)
    description = tmp_path / "out" / "split.json"
    whole = description.read_bytes()
    for damage in (whole[:-9], b"[]", b'{"percent": "five"}'):
        description.write_bytes(damage)
        with pytest.raises(StoreError, match=r"split\.json; .*--overwrite"):
            split(config)
    split(replace(config, overwrite=True))
    assert description.read_bytes() == whole


def test_the_same_ids_of_another_file_are_a_different_split(annotations: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = SplitConfig(annotations=str(annotations), out=str(out), percent=5)
    split(config)
    annotations.write_text(annotations.read_text().replace('"disk"', '"ring"'))
    with pytest.raises(ConfigError, match="source_sha256"):
        split(config)


def test_a_file_without_annotations_is_refused_in_one_line(
    annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = json.loads(annotations.read_text())
    del bare["annotations"]
    annotations.write_text(json.dumps(bare))
    assert cli.run(["split", str(annotations), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "got one without" in said


def test_a_published_list_of_ids_makes_the_split_it_was_taken_from(annotations: Path, tmp_path: Path) -> None:
    drawn = split(SplitConfig(annotations=str(annotations), out=str(tmp_path / "drawn"), percent=10))
    (tmp_path / "ids.txt").write_text("".join(f"{one}\n" for one in reversed(drawn.labeled_ids)))
    config = SplitConfig(
        annotations=str(annotations),
        out=str(tmp_path / "out"),
        ids=str(tmp_path / "ids.txt"),
        hash=drawn.ids_hash,
    )
    imported = split(config)
    assert (imported.family, imported.labeled_ids) == ("imported", drawn.labeled_ids)
    assert read(tmp_path / "out", "labeled")["images"] == read(tmp_path / "drawn", "labeled")["images"]
    assert read(tmp_path / "out", "split")["ids_hash"] == drawn.ids_hash
    again = split(
        replace(config, out=str(tmp_path / "again"), ids=str(tmp_path / "drawn/split.json"), hash=None)
    )
    assert again == drawn


def test_a_list_whose_hash_is_another_writes_nothing(
    annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ids.txt").write_text("1\n2\n")
    arguments = [
        "split",
        str(annotations),
        "--out",
        str(tmp_path / "out"),
        "--ids",
        str(tmp_path / "ids.txt"),
    ]
    assert cli.run([*arguments, "--hash", "0" * 64]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "expected the hash that --hash asks for" in said
    assert not (tmp_path / "out").exists()
    assert cli.run([*arguments[:4], "--hash", "0" * 64]) == 2
    assert "--hash with --ids only" in capsys.readouterr().err


def test_the_source_and_files_of_another_origin_are_not_written_over(
    annotations: Path, tmp_path: Path
) -> None:
    source = tmp_path / "own" / "labeled.json"
    source.parent.mkdir()
    source.write_bytes(annotations.read_bytes())
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="without the file that is split"):
            split(
                SplitConfig(annotations=str(source), out=str(source.parent), percent=5, overwrite=overwrite)
            )
    with pytest.raises(ConfigError, match=r"got .*own/labeled\.json; .*--overwrite"):
        split(SplitConfig(annotations=str(annotations), out=str(source.parent), percent=5))
    assert source.read_bytes() == annotations.read_bytes()
    assert [path.name for path in source.parent.iterdir()] == ["labeled.json"]


def test_a_split_that_was_killed_before_its_end_is_finished(annotations: Path, tmp_path: Path) -> None:
    config = SplitConfig(annotations=str(annotations), out=str(tmp_path / "out"), percent=5)
    drawn = split(config)
    (tmp_path / "out" / "split.json").unlink()
    (tmp_path / "out" / "unlabeled.json").unlink()
    assert split(config) == drawn
    assert (tmp_path / "out" / "split.json").exists()


@pytest.mark.parametrize("kind", ["yolo", "voc"])
def test_a_yolo_or_voc_source_is_split_into_coco_files(tmp_path: Path, kind: str) -> None:
    (tmp_path / "data/JPEGImages").mkdir(parents=True)
    for folder in ("labels", "Annotations", "ImageSets/Main"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    data = tmp_path / "data"
    for name in "abcd":
        Image.new("RGB", (40, 20)).save(data / f"JPEGImages/{name}.jpg")
        (data / f"labels/{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
        box = "<bndbox><xmin>11</xmin><ymin>6</ymin><xmax>30</xmax><ymax>15</ymax></bndbox>"
        objects = "".join(
            f"<object><name>hat</name><difficult>{difficult}</difficult>{box}</object>"
            for difficult in (0, 1)
        )
        (data / f"Annotations/{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    (data / "ImageSets/Main/trainval.txt").write_text("a\nb\nc\nd\n")
    if kind == "yolo":
        (data / "data.yaml").write_text("train: JPEGImages\nnames: [hat]\n")
    drawn = split(SplitConfig(annotations=str(data), out=str(tmp_path / "s"), percent=25))
    assert (len(drawn.labeled_ids), len(drawn.unlabeled_ids)) == (1, 3)
    labeled = read_coco(str(tmp_path / "s/labeled.json"))
    assert labeled.classes == ("hat",)
    assert labeled.truth is not None
    assert labeled.truth.labels.boxes_N4.tolist() == [[10, 5, 30, 15]]
    if kind == "voc":
        assert labeled.truth.difficult is not None
        assert labeled.truth.difficult.boxes_N4.tolist() == [[10, 5, 30, 15]]
    assert (data / labeled.file_names[0]).is_file()
    assert read_coco(str(tmp_path / "s/unlabeled.json")).truth is None


def split_or_say(rank: int, trial: int, annotations: str, root: str) -> str:
    time.sleep(rank * (trial % 4) * 1e-3)
    config = SplitConfig(annotations=annotations, out=f"{root}/{trial}", percent=(5.0, 50.0)[rank])
    try:
        return split(config).hash
    except (ConfigError, StoreError) as error:
        return str(error)


@pytest.mark.parametrize("trials", TRIALS)
def test_of_two_splits_at_once_one_is_written_and_the_other_refused(
    annotations: Path, tmp_path: Path, trials: int
) -> None:
    for trial, said in enumerate(together(split_or_say, str(annotations), str(tmp_path), trials=trials)):
        folder = tmp_path / str(trial)
        (winner,) = (rank for rank in range(2) if read(folder, "split")["hash"] == said[rank])
        assert "another `mixpl split` is writing" in said[1 - winner] or "no other split" in said[1 - winner]
        num_labeled = len(read(folder, "labeled")["images"])
        assert (num_labeled, len(read(folder, "unlabeled")["images"])) == ((10, 190), (100, 100))[winner]
        assert sorted(path.name for path in folder.iterdir()) == sorted(f"{part}.json" for part in PARTS)
