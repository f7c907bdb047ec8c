"""`mixpl predict`: the boxes of the labeling job, in every form, whatever is among the images."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from analysis.figures.boxes_on_images import class_colour
from jobs.cli import run
from jobs.label import LabelConfig, label
from storage.dataset.dataset import Dataset
from storage.rounds.round import open_round, round_path
from storage.tables.label_table import table_labels


@pytest.fixture
def photos(drawn: Path, tmp_path: Path) -> Path:
    """A folder of six drawn images, one of another size, one turned by EXIF and in a folder, two that are none."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    test = drawn / "images" / "images" / "test"
    for number in range(4):
        shutil.copy(test / f"{number:06d}.jpg", folder / f"{number}.jpg")
    with Image.open(test / "000004.jpg") as image:
        image.crop((0, 0, 64, 40)).save(folder / "wide.png")
    with Image.open(test / "000005.jpg") as image:
        turned = image.getexif()
        turned[0x0112] = 6
        image.crop((0, 0, 64, 40)).save(folder / "more" / "turned.jpg", exif=turned)
    (folder / "broken.jpg").write_bytes((test / "000006.jpg").read_bytes()[:400])
    (folder / "empty.png").write_bytes(b"")
    return folder


def predicted(*words: object) -> None:
    assert run(["predict", *map(str, words)]) == 0


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_boxes_are_those_of_the_labeling_job(drawn: Path, trained: Path, tmp_path: Path) -> None:
    label(LabelConfig(run=str(trained), data=str(drawn / "test"), out=f"{tmp_path}/labels"))
    store = open_round(round_path(f"{tmp_path}/labels", 1)).labels()
    images = Dataset.open(str(drawn / "test")).images()
    names = dict(zip(images["key"].to_pylist(), images["file_name"].to_pylist(), strict=True))
    labeled = {}
    for stem in store.stems():
        table = store.read(stem)
        labels = table_labels(table).above(0.051)
        for at, key in enumerate(table["key"].to_pylist()):
            labeled[names[key]] = labels.image(at)
    predicted(trained, drawn / "images/images/test", "--out", tmp_path / "found.jsonl", "--batch", 5)
    found = lines(tmp_path / "found.jsonl")
    assert [line["file_name"] for line in found] == sorted(labeled)
    assert sum(len(line["objects"]) for line in found) > 100  # type: ignore[arg-type]
    for line in found:
        boxes = np.array([thing["box"] for thing in line["objects"]]).reshape(-1, 4)  # type: ignore[attr-defined]
        np.testing.assert_allclose(boxes, labeled[line["file_name"]].boxes_N4, atol=1e-3)


def test_images_of_any_size_and_turn_come_in_order_and_bad_ones_are_named(
    photos: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predicted(trained, photos, "--out", tmp_path / "found.jsonl")
    found = lines(tmp_path / "found.jsonl")
    sizes = [(line["file_name"], line["width"], line["height"]) for line in found]
    assert sizes[:4] == [(f"{number}.jpg", 64, 64) for number in range(4)]
    assert sizes[4:] == [("more/turned.jpg", 40, 64), ("wide.png", 64, 40)]
    said = capsys.readouterr().out
    assert "in 6 images by the teacher of short at step 12" in said
    assert "2 images cannot be used:" in said
    assert "  broken.jpg: " in said
    assert "  empty.png: empty file" in said


def test_every_picture_shows_its_image_and_boxes_under_its_name(
    photos: Path, trained: Path, tmp_path: Path
) -> None:
    predicted(trained, photos, "--out", tmp_path / "seen", "--score-threshold", 0.99)
    predicted(trained, photos / "wide.png", "--out", tmp_path / "boxes", "--score-threshold", 0.06)
    pictures = {str(path.relative_to(tmp_path / "seen")) for path in (tmp_path / "seen").rglob("*.*")}
    assert pictures == {"0.jpg", "1.jpg", "2.jpg", "3.jpg", "wide.png", "more/turned.jpg"}
    with (
        Image.open(photos / "more/turned.jpg") as image,
        Image.open(tmp_path / "seen/more/turned.jpg") as seen,
    ):
        upright = ImageOps.exif_transpose(image)
        assert seen.size == (240, 384)  # small images are enlarged
        difference = np.asarray(seen.resize(upright.size), float) - np.asarray(upright, float)
    assert np.median(np.abs(difference)) < 12
    with Image.open(tmp_path / "seen/wide.png") as bare, Image.open(tmp_path / "boxes/wide.png") as boxes:
        disks = [(np.asarray(picture) == class_colour(0)).all(axis=2).sum() for picture in (bare, boxes)]
    assert disks[0] == 0 < disks[1]


def test_coco_results_and_annotations_hold_the_same_boxes(
    photos: Path, trained: Path, tmp_path: Path
) -> None:
    predicted(trained, photos, "--out", tmp_path / "found.json", "--score-threshold", 0.06)
    predicted(
        trained, photos, "--out", tmp_path / "results", "--format", "coco-results", "--score-threshold", 0.06
    )
    document = json.loads((tmp_path / "found.json").read_text())
    results = json.loads((tmp_path / "results/results.json").read_text())
    of_annotations = [
        (a["image_id"], a["category_id"], a["bbox"], a["score"]) for a in document["annotations"]
    ]
    assert of_annotations == [(a["image_id"], a["category_id"], a["bbox"], a["score"]) for a in results]
    assert of_annotations
    assert document["categories"][0]["name"] == "disk"
    assert len(json.loads((tmp_path / "results/images.json").read_text())["images"]) == 6
    assert min(result["score"] for result in results) > 0.06


def test_label_studio_tasks_name_image_and_model(photos: Path, trained: Path, tmp_path: Path) -> None:
    options = ["--format", "labelstudio", "--image-url", "https://host/", "--limit", 2]
    predicted(trained, photos, "--out", tmp_path / "tasks", *options)
    tasks = json.loads((tmp_path / "tasks/tasks-000000.json").read_text())
    assert [task["data"]["image"] for task in tasks] == ["https://host/0.jpg", "https://host/1.jpg"]
    assert tasks[0]["predictions"][0]["model_version"].startswith("short-step-12-")
    assert tasks[0]["predictions"][0]["result"]


def test_exported_weights_find_what_the_run_finds(photos: Path, trained: Path, tmp_path: Path) -> None:
    predicted(trained, photos, "--out", tmp_path / "run.jsonl")
    for form, name in (("torch", "w.pth"), ("safetensors", "w.safetensors")):
        assert run(["weights", str(trained), "--format", form, "--out", f"{tmp_path}/{name}"]) == 0
        predicted(tmp_path / name, photos, "--out", tmp_path / f"{form}.jsonl")
        assert (tmp_path / f"{form}.jsonl").read_bytes() == (tmp_path / "run.jsonl").read_bytes()


def test_an_exported_graph_finds_what_the_run_finds(photos: Path, trained: Path, tmp_path: Path) -> None:
    assert run(["weights", str(trained), "--format", "onnx", "--out", f"{tmp_path}/w.onnx"]) == 0
    found = []
    for name, model in (("run", trained), ("graph", tmp_path / "w.onnx")):
        # below the least score of all boxes lie near ties, of which NMS keeps one or the other
        predicted(model, photos, "--out", tmp_path / f"{name}.jsonl", "--score-threshold", 0.06)
        found.append(lines(tmp_path / f"{name}.jsonl"))
    ours, theirs = found
    assert [line["file_name"] for line in ours] == [line["file_name"] for line in theirs]
    assert sum(len(line["objects"]) for line in ours) > 20  # type: ignore[arg-type]
    for mine, other in zip(ours, theirs, strict=True):
        boxes, others = (
            np.array([[*thing["box"], thing["score"]] for thing in line["objects"]]).reshape(-1, 5)  # type: ignore[attr-defined]
            for line in (mine, other)
        )
        assert len(boxes) == len(others)
        apart = np.abs(boxes[:, None] - others).max(axis=2)
        assert boxes.size == 0 or apart.min(axis=1).max() < 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "here.txt"], "say which with --format"),
        (["--out", "here", "--format", "jsonl"], r"ends in \.jsonl with --format jsonl, got here"),
        (["--out", "here.json", "--format", "overlays"], "name of a folder with --format overlays"),
        (["--out", "."], "a name that is not there yet"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_the_model_is_opened(
    options: list[str], message: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", "no-model", str(photos), *options]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_model_that_is_not_there_is_refused_with_what_was_expected(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("none.safetensors", "none.onnx", "none"):
        out = f"{tmp_path}/out.json"
        assert run(["predict", f"{tmp_path}/{name}", str(photos), "--out", out]) == 2
        said = capsys.readouterr().err
        assert "expected a run's folder, a checkpoint, or weights that `mixpl weights` exported" in said
        assert name in said


def test_images_of_which_none_can_be_used_leave_nothing(
    photos: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", str(trained), str(photos / "empty.png"), "--out", f"{tmp_path}/out.json"]) == 2
    assert "none can be used, the first is" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


@pytest.mark.parametrize("out", ["seen", "found.jsonl"])
def test_ctrl_c_in_the_middle_leaves_nothing_that_looks_complete(
    out: str, drawn: Path, trained: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3000):
        (images / f"{number}.jpg").symlink_to(drawn / "images/images/test" / f"{number % 150:06d}.jpg")
    command = [
        sys.executable,
        "-m",
        "jobs.cli",
        "predict",
        str(trained),
        str(images),
        "--out",
        f"{tmp_path}/{out}",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(f".{out}.*")) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert (process.returncode, said.splitlines()[-1:]) == (
        130,
        ["mixpl predict: interrupted; run the same command again"],
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]
