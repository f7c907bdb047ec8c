"""What tools export through `mixpl shard` and `mixpl split`: boxes in tables, and parts that can be packed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from jobs.cli import run
from storage.dataset.dataset import Dataset
from tests.tool_sources import BOXES, LAYOUTS

ONE_OF_A_READER = ("cvat_images", "datumaro", "labelme", "cvat_yolo", "label_studio_yolo", "roboflow_coco")


@pytest.mark.parametrize("name", ONE_OF_A_READER)
def test_a_folder_of_a_tool_becomes_a_labeled_set(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    LAYOUTS[name][1](tmp_path / "source")
    command = [
        "shard",
        str(tmp_path / "source"),
        "--out",
        str(tmp_path / "set"),
        "--workers",
        "1",
        "--strict",
    ]
    assert run(command) == 0
    assert "2 images in 1 shards, 2 boxes, 2 classes" in capsys.readouterr().out
    dataset = Dataset.open(str(tmp_path / "set"))
    assert dataset.classes == ("cat", "dog")


@pytest.mark.parametrize("name", ONE_OF_A_READER)
def test_a_folder_of_a_tool_is_split_and_its_parts_are_packed_as_said(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    LAYOUTS[name][1](tmp_path / "source")
    command = ["split", str(tmp_path / "source"), "--percent", "50", "--out", str(tmp_path / "split")]
    assert run(command) == 0
    [images_root] = re.findall(r"`mixpl shard PART.json --images (.*?)`", capsys.readouterr().out)
    truths = [
        json.loads((tmp_path / f"split/{part}.json").read_text()) for part in ("labeled", "unlabeled-truth")
    ]
    assert sum(len(truth["annotations"]) for truth in truths) == len(BOXES)
    part = str(tmp_path / "split/unlabeled.json")
    command = [
        "shard",
        part,
        "--images",
        images_root,
        "--out",
        str(tmp_path / "set"),
        "--workers",
        "1",
        "--strict",
    ]
    assert run(command) == 0
    assert "1 images in 1 shards" in capsys.readouterr().out
