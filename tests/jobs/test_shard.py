"""`mixpl shard`: COCO files and folders, what it says, and which arguments fit together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs import cli
from jobs.shard import ShardConfig, shard
from jobs.split import SplitConfig, split
from storage.dataset.dataset import Dataset
from storage.errors import InputError
from storage.tables.label_table import table_labels

NUM_IMAGES = 12


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Folder with all.json and images/."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    images, annotations = [], []
    for number in range(1, NUM_IMAGES + 1):
        Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(
            tmp_path / "images" / f"{number}.jpg"
        )
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 40, "height": 30})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": [1, 1, number, 3]})
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "disk"}]}
    (tmp_path / "all.json").write_text(json.dumps(document))
    return tmp_path


def config(coco: Path, **changes: object) -> ShardConfig:
    base = ShardConfig(
        source=str(coco / "all.json"),
        images=str(coco / "images"),
        out=str(coco / "set"),
        per_shard=5,
        workers=1,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_a_split_becomes_a_labeled_and_an_unlabeled_set_with_truth_apart(coco: Path) -> None:
    drawn = split(SplitConfig(annotations=str(coco / "all.json"), out=str(coco), percent=25))
    labeled = shard(config(coco, source=str(coco / "labeled.json"), out=str(coco / "a")))
    unlabeled = shard(
        config(
            coco,
            source=str(coco / "unlabeled.json"),
            out=str(coco / "b"),
            name="rest",
            hidden_truth=str(coco / "unlabeled-truth.json"),
        )
    )
    for dataset, part, ids in (
        (labeled, "labeled", drawn.labeled_ids),
        (unlabeled, "unlabeled", drawn.unlabeled_ids),
    ):
        assert dataset.split is not None
        assert (dataset.split["hash"], dataset.split["part"]) == (drawn.hash, part)
        assert tuple(dataset.images()["image_id"].to_pylist()) == ids
        assert set(dataset.images()["split"].to_pylist()) == {part}
    assert (labeled.name, labeled.num_boxes) == ("a", 3)
    assert (unlabeled.name, unlabeled.num_boxes) == ("rest", None)
    hidden = unlabeled.hidden_truth()
    assert hidden is not None
    assert len(table_labels(hidden.read_all()).scores_N) == 9


def test_the_command_names_and_counts_what_it_left_out(
    coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (coco / "images" / "3.jpg").unlink()
    (coco / "images" / "4.jpg").write_bytes((coco / "images" / "4.jpg").read_bytes()[:300])
    arguments = [
        "shard",
        str(coco / "all.json"),
        "--images",
        str(coco / "images"),
        "--out",
        str(coco / "set"),
    ]
    assert cli.run([*arguments, "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "set, 10 images in 1 shards, 10 boxes, 1 classes" in said
    assert "2 images left out, see" in said
    assert "3.jpg: missing file" in said
    assert "4.jpg: " in said
    assert cli.run([*arguments, "--workers", "1"]) == 0
    assert "(was complete)" in capsys.readouterr().out
    assert cli.run([*arguments[:-1], str(coco / "other"), "--strict"]) == 2
    assert "3.jpg, image 3" in capsys.readouterr().err


def test_a_folder_borrows_its_classes(coco: Path) -> None:
    shard(config(coco))
    folder = config(coco, source=str(coco / "images"), images=None, out=str(coco / "folder"))
    dataset = shard(replace(folder, classes_from=str(coco / "set")))
    assert (dataset.classes, dataset.category_ids, dataset.labeled) == (("disk",), (1,), False)
    assert Dataset.open(str(coco / "folder")).num_images == NUM_IMAGES


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": None}, "expected --images"),
        ({"images": "nowhere"}, "nothing there: --images nowhere"),
        ({"source": "nowhere"}, "got neither: nowhere"),
        ({"source": "nowhere.json"}, r"nowhere\.json.*check the path"),
        ({"classes_from": "nowhere"}, "got nothing there: nowhere"),
        ({"subset": "val"}, "--subset with sources in parts only"),
        ({"keep_difficult": True}, "--keep-difficult with VOC only"),
        ({"unlabeled": True, "hidden_truth": "truth.json"}, "--hidden-truth or --unlabeled, got both"),
        ({"hidden_truth": "nowhere.json"}, r"nowhere\.json"),
        ({"per_shard": 0}, "--per-shard"),
        ({"workers": 0}, "--workers"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(coco: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        shard(config(coco, **changes))


@pytest.mark.parametrize("name", ["images", "hidden_truth"])
def test_a_folder_with_arguments_of_a_file_is_refused(coco: Path, name: str) -> None:
    words = f"--{name.replace('_', '-')} with an annotation file(?: or VOC)? only"
    with pytest.raises(InputError, match=words):
        shard(config(coco, **{"source": str(coco / "images"), "images": None, name: str(coco / "all.json")}))


def test_classes_are_lent_by_name_by_a_data_set_or_a_file(coco: Path) -> None:
    (coco / "classes.txt").write_text("ring\ndisk\n")
    first = shard(config(coco, classes=str(coco / "classes.txt")))
    assert (first.classes, first.category_ids, first.num_boxes) == (("ring", "disk"), (1, 2), NUM_IMAGES)
    second = shard(config(coco, out=str(coco / "other"), classes_from=first.root))
    assert (second.classes, second.num_boxes) == (first.classes, NUM_IMAGES)
    assert set(table_labels(second.ground_truth().read_all()).categories_N.tolist()) == {1}
    with pytest.raises(InputError, match="--classes or --classes-from, got both"):
        shard(config(coco, classes="x", classes_from="y"))
    (coco / "classes.txt").write_text("ring\n")
    with pytest.raises(InputError, match="expected classes of the list ring, got disk"):
        shard(config(coco, out=str(coco / "third"), classes=str(coco / "classes.txt")))


def test_an_annotated_source_is_written_as_unlabeled_with_its_truth_apart(coco: Path) -> None:
    dataset = shard(config(coco, unlabeled=True))
    assert (dataset.labeled, dataset.num_boxes) == (False, None)
    hidden = dataset.hidden_truth()
    assert hidden is not None
    assert len(table_labels(hidden.read_all()).scores_N) == NUM_IMAGES
    assert b"boxes" not in Path(dataset.shard_path(dataset.shards[0])).read_bytes()


def test_a_yolo_set_goes_from_data_yaml_to_shards(coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (coco / "labels").mkdir()
    (coco / "labels/3.txt").write_text("0 0.5 0.5 0.5 0.5\n9 0.5 0.5 0.5 0.5\n")
    (coco / "data.yaml").write_text("train: images\nnames: [disk]\n")
    assert cli.run(["shard", str(coco / "data.yaml"), "--out", str(coco / "set"), "--workers", "1"]) == 0
    dataset = Dataset.open(str(coco / "set"))
    assert (dataset.num_images, dataset.num_boxes, dataset.classes) == (NUM_IMAGES, 1, ("disk",))
    assert dataset.source["format"] == "yolo"
    said = capsys.readouterr().out
    assert "note  images without label file: 11" in said
    assert "1 x unknown class (dropped): labels/3.txt:2: class 9" in said
    table = dataset.ground_truth().read_all()
    assert table_labels(table).boxes_N4.tolist() == [[10, 7.5, 30, 22.5]]


def crowded(coco: Path, crowds: set[int]) -> ShardConfig:
    """The set with some of its objects annotated as crowds."""
    document = json.loads((coco / "all.json").read_text())
    for annotation in document["annotations"]:
        annotation["iscrowd"] = int(annotation["id"] in crowds)
    (coco / "crowds.json").write_text(json.dumps(document))
    return config(coco, source=str(coco / "crowds.json"), strict=True)


def test_what_is_kept_apart_is_said_on_the_screen_in_skipped_json_and_by_verify(
    coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = shard(crowded(coco, {1, 2, 3, 4, 5, 6, 7}))  # --strict takes them: nothing is wrong
    line = "7 x crowd region (kept apart, not trained on): annotation 1: bbox"
    assert f"  note  {line}" in capsys.readouterr().out
    report = json.loads((coco / "set/skipped.json").read_text())
    crowds = report["annotations"]["crowd region (kept apart, not trained on)"]
    assert (crowds["count"], len(crowds["examples"])) == (7, 5)
    assert cli.run(["verify", dataset.root, "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert line in printed
    assert "and 2 more" in printed


def test_a_labeled_set_in_which_no_annotation_becomes_a_box_is_refused(
    coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = crowded(coco, set(range(1, NUM_IMAGES + 1)))
    command = ["shard", lost.source, "--images", str(lost.images), "--out", lost.out]
    assert cli.run(command) == 2
    assert "a box of at least one of 12 annotations, got none (12 x crowd region" in capsys.readouterr().err
    assert not (coco / "set").exists()
    assert cli.run([*command, "--unlabeled"]) == 0


def test_verify_names_the_images_that_were_left_out(coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (coco / "images/3.jpg").unlink()
    dataset = shard(config(coco))
    capsys.readouterr()
    assert cli.run(["verify", dataset.root, "--workers", "1"]) == 0
    assert "1 x image left out (missing file): 3.jpg" in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["labelimg", "roboflow", "cvat"])
def test_what_a_voc_folder_of_a_tool_sets_apart_is_said_on_the_screen_in_skipped_json_and_by_verify(
    tmp_path: Path, layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {
        "labelimg": ("{}.jpg", "{}.xml"),
        "roboflow": ("train/{}.jpg", "train/{}.xml"),
        "cvat": ("JPEGImages/{}.jpg", "Annotations/{}.xml"),
    }
    image_place, annotation_place = places[layout]
    folder, out = tmp_path / "tool", tmp_path / "out"
    box = "<bndbox><xmin>3</xmin><ymin>3</ymin><xmax>30</xmax><ymax>20</ymax></bndbox>"
    objects = "".join(
        f"<object><name>hat</name>{text}</object>"
        for text in (
            box,
            f"<difficult>1</difficult>{box}",
            "<difficult>0</difficult>",
            f"<score>7</score>{box}",
        )
    )
    for name in ("a", "b 1", "new"):
        (folder / image_place.format(name)).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(folder / image_place.format(name))
    for name in ("a", "b 1"):
        (folder / annotation_place.format(name)).parent.mkdir(parents=True, exist_ok=True)
        (folder / annotation_place.format(name)).write_text(f"<annotation>{objects}</annotation>")
    if layout == "cvat":
        (folder / "ImageSets/Main").mkdir(parents=True)
        (folder / "ImageSets/Main/default.txt").write_text("a\nb 1\nnew\n")
    assert cli.run(["shard", str(folder), "--out", str(out), "--workers", "1"]) == 0
    screen = capsys.readouterr().out
    assert "2 images in 1 shards, 2 boxes, 1 classes" in screen
    report = json.loads((out / "skipped.json").read_text())["annotations"]
    assert cli.run(["verify", str(out)]) == 0
    verified = capsys.readouterr().out
    expected = {"difficult object": 2, "malformed object": 4, "no annotation file": 1}
    assert {kind.partition(" (")[0]: entry["count"] for kind, entry in report.items()} == expected
    for kind, count in expected.items():
        assert f"{count} x {kind}" in screen
        assert f"{count} x {kind}" in verified


def test_a_split_of_a_voc_folder_without_lists_says_what_it_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "set"
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>41</xmax><ymax>20</ymax></bndbox>"
    for name in ("train/a", "train/b", "valid/c"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(folder / f"{name}.jpg")
        (folder / f"{name}.xml").write_text(f"<annotation><object><name>x</name>{box}</object></annotation>")
    split(SplitConfig(annotations=str(folder), out=str(tmp_path / "s"), percent=50))
    out = capsys.readouterr().out
    for words in ("subset: train", "other subsets: val", "corners: edges-from-1"):
        assert words in out
    labeled = json.loads((tmp_path / "s/labeled.json").read_text())
    assert [entry["bbox"] for entry in labeled["annotations"]] == [[0, 0, 40, 19]]
    everything = SplitConfig(
        annotations=str(folder), out=str(tmp_path / "t"), percent=34, subset="all", corners="pixels-from-1"
    )
    assert split(everything).num_images == 3
    labeled = json.loads((tmp_path / "t/labeled.json").read_text())
    assert [entry["bbox"] for entry in labeled["annotations"]] == [[0, 0, 40, 20]]


def test_options_of_numbers_and_frames_are_kept_and_a_run_without_them_is_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (50, 40)).save(tmp_path / "images/a.jpg", exif=exif)
    (tmp_path / "labels/a.txt").write_text("0 0.3 0.3 0.35 0.3 0.36 0.36 0.3 0.35\n")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [disk]\n")
    command = ["shard", str(tmp_path), "--out", str(tmp_path / "out")]
    assert cli.run(command) == 2
    assert "--columns key-points or --columns polygons" in capsys.readouterr().err
    options = ["--columns", "polygons", "--boxes", "stored"]
    assert cli.run([*command, *options]) == 0
    assert "note  boxes: stored" in capsys.readouterr().out
    dataset = Dataset.open(str(tmp_path / "out"))
    assert (dataset.source["columns"], dataset.source["boxes"]) == ("polygons", "stored")
    (box,) = table_labels(dataset.ground_truth().read("shard-000000")).boxes_N4.tolist()
    assert box == pytest.approx([40 - 0.36 * 40, 0.3 * 50, 40 - 0.3 * 40, 0.36 * 50], abs=1e-4)
    assert cli.run([*command, *options]) == 0
    assert cli.run([*command, *options[:2]]) == 2
    assert "got boxes None instead of 'stored'" in capsys.readouterr().err


def test_a_class_list_maps_the_hidden_truth_too(coco: Path, tmp_path: Path) -> None:
    split(SplitConfig(annotations=str(coco / "all.json"), out=str(tmp_path / "parts"), percent=50))
    own = [entry["name"] for entry in json.loads((coco / "all.json").read_text())["categories"]]
    (tmp_path / "classes.txt").write_text("\n".join(["more", *reversed(own)]))
    dataset = shard(
        ShardConfig(
            source=str(tmp_path / "parts/unlabeled.json"),
            images=str(coco / "images"),
            out=str(tmp_path / "out"),
            hidden_truth=str(tmp_path / "parts/unlabeled-truth.json"),
            classes=str(tmp_path / "classes.txt"),
            workers=1,
        )
    )
    assert dataset.classes == ("more", *reversed(own))
    hidden = dataset.hidden_truth()
    assert hidden is not None
    categories = set(table_labels(hidden.read("shard-000000")).categories_N.tolist())
    assert categories
    assert categories <= {1 + row for row in range(len(own))}
