"""`mixpl export`: the round is found by its number and place, and what it cannot do it says in one line."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import cli
from storage.dataset.dataset import Dataset
from storage.labels import Labels
from storage.rounds.round import Round, open_round, round_path
from storage.tables.label_table import label_table
from tests.rounds import round_info


def add_round(dataset: Dataset, labels: Path, number: int, *, finish: bool = True) -> Round:
    """A round that gives each image as many boxes as its number says, of class 1, one of them doubtful."""
    round_ = open_round(round_path(str(labels), number))
    images = dataset.images()
    for shard in dataset.shards:
        rows = [row for row in images.to_pylist() if row["shard"] == shard]
        one = Labels.of_image([(1, 2, 30, 40)] * number, [1] * number, [0.3, 0.9, 0.8][:number])
        table = label_table(
            [row["key"] for row in rows],
            [row["image_id"] for row in rows],
            [(row["height"], row["width"]) for row in rows],
            Labels.concatenate([one] * len(rows)),
        )
        round_.labels().write(shard.removesuffix(".tar"), table, {})
    if not finish:
        return round_
    return round_.finish(round_info(dataset, number=number, num_boxes=number * dataset.num_images))


@pytest.fixture
def labels(drawn: Path, tmp_path: Path) -> Path:
    """Two complete rounds over 380 images, and one that is not complete."""
    dataset = Dataset.open(str(drawn / "unlabeled"))
    for number in (1, 2, 3):
        add_round(dataset, tmp_path / "labels", number, finish=number < 3)
    return tmp_path / "labels"


def test_the_latest_complete_round_is_exported(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["export", str(labels), "--format", "coco", "--out", f"{tmp_path}/out"]) == 0
    line = capsys.readouterr().out.strip()
    assert line == (
        f"{tmp_path}/out: 380 boxes of 380 images with score > 0.5 (0 images without a box), "
        f"from {labels}/round=0002"
    )
    assert len(json.loads((tmp_path / "out" / "annotations.json").read_text())["annotations"]) == 380


def test_round_and_condition_can_be_chosen(labels: Path, tmp_path: Path) -> None:
    base = ["export", str(labels), "--format", "coco-results", "--round", "1"]
    for name, where, expected in (("all", "true", 380), ("none", "score > 0.7 and class = 'disk'", 0)):
        assert cli.run([*base, "--out", f"{tmp_path}/{name}", "--where", where]) == 0
        assert len(json.loads((tmp_path / name / "results.json").read_text())) == expected


def test_a_round_can_be_named_by_its_folder(labels: Path, tmp_path: Path) -> None:
    arguments = ["export", f"{labels}/round=0001", "--format", "coco", "--out", f"{tmp_path}/out"]
    assert cli.run([*arguments, "--where", "true"]) == 0
    assert json.loads((tmp_path / "out" / "export.json").read_text())["round"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--where", "scor > 0.5"], 'Referenced column "scor" not found'),
        (["--where", "true; DROP TABLE x"], "got a second statement"),
        (["--round", "9"], "expected a complete round 9 below"),
        (["--round", "3"], "round=0003 (incomplete)"),
        (["--data", "DRAWN/labeled"], "expected the data set 'unlabeled' that"),
        (["--no-scores"], "yolo only"),
    ],
)
def test_what_does_not_fit_is_one_line_and_writes_nothing(
    arguments: list[str],
    message: str,
    labels: Path,
    drawn: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [argument.replace("DRAWN", str(drawn)) for argument in arguments]
    assert cli.run(["export", str(labels), "--format", "coco", "--out", f"{tmp_path}/out", *given]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mixpl export: ")
    assert message in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["labels"]


def test_a_round_that_lost_a_table_is_not_exported(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sorted((labels / "round=0002").glob("shard-*.parquet"))[0].unlink()
    assert cli.run(["export", str(labels), "--format", "coco", "--out", f"{tmp_path}/out"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "expected 380 images as round.json says, got " in error
    assert f"{labels}/round=0002; remove its round.json" in error
    assert [path.name for path in tmp_path.iterdir()] == ["labels"]


LIMITED = """
import resource, sys
from jobs import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
sys.exit(cli.run(sys.argv[1:]))
"""


@pytest.mark.parametrize("form", ["coco-results", "coco", "yolo", "voc", "labelstudio"])
def test_a_disk_that_takes_no_more_is_one_line_and_leaves_nothing(
    form: str, labels: Path, tmp_path: Path
) -> None:
    arguments = ["export", str(labels), "--format", form, "--out", f"{tmp_path}/out", "--where", "true"]
    ended = subprocess.run(
        [sys.executable, "-B", "-c", LIMITED, *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"mixpl export: [Errno {errno.EFBIG}] File too large: '{tmp_path}/out")
    assert ended.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["labels"]
    assert cli.run(arguments) == 0


def test_two_data_sets_are_not_guessed_between(
    labels: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_round(Dataset.open(str(drawn / "test")), tmp_path / "labels" / "test", 1)
    arguments = ["export", str(labels), "--format", "coco", "--out", f"{tmp_path}/out"]
    assert cli.run(arguments) == 2
    error = capsys.readouterr().err
    assert f"{labels}/round=0002" in error
    assert f"{labels}/test/round=0001" in error


def test_a_data_set_that_moved_is_named_or_found_below(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = Dataset.open(str(drawn / "unlabeled"))
    add_round(dataset, tmp_path / "labels", 1)
    info = tmp_path / "labels" / "round=0001" / "round.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"dataset_root": "gone"}))
    arguments = ["export", str(tmp_path / "labels"), "--format", "coco", "--out", f"{tmp_path}/out"]
    assert cli.run(arguments) == 2
    assert "name its folder with --data" in capsys.readouterr().err
    assert cli.run([*arguments, "--data", dataset.root]) == 0
    (tmp_path / "unlabeled").symlink_to(dataset.root)
    assert cli.run(["export", str(tmp_path), "--format", "coco", "--out", f"{tmp_path}/again"]) == 0


def test_a_folder_without_labels_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["export", str(tmp_path), "--format", "coco", "--out", f"{tmp_path}/out"]) == 2
    assert "got no round at all; write or finish one with `mixpl label`" in capsys.readouterr().err
