"""One small real data set for all tests of verbs: drawn, split and sharded once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jobs.recipes.drawn import tiny
from jobs.recipes.train_config import DataConfig, LogConfig, TrainConfig
from jobs.shard import ShardConfig, shard
from jobs.split import SplitConfig, split
from jobs.synth import SynthConfig, synth
from jobs.train import train
from model.method.gate import SemiSupervisedSettings
from storage.dataset.dataset import Dataset
from storage.rounds.round import open_round, round_path
from storage.tables.schemas import LABEL_SCHEMA
from tests.rounds import round_info

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with images/, split/, labeled/, unlabeled/ and test/: the tiny data set, 5 % labeled."""
    root = tmp_path_factory.mktemp("drawn")
    images, parts = root / "images", root / "split"
    synth(SynthConfig(out=str(images), preset="tiny", seed=0, workers=2))
    split(SplitConfig(annotations=f"{images}/train.json", out=str(parts), percent=5.0))
    for name, source, part, truth in (
        ("labeled", parts / "labeled.json", "train", None),
        ("unlabeled", parts / "unlabeled.json", "train", str(parts / "unlabeled-truth.json")),
        ("test", images / "test.json", "test", None),
    ):
        shard(
            ShardConfig(
                source=str(source),
                images=f"{images}/images/{part}",
                out=str(root / name),
                per_shard=50,
                hidden_truth=truth,
            )
        )
    return root


def short_run(drawn: Path, out: Path) -> TrainConfig:
    """Return a run of a few steps on the drawn data."""
    return replace(
        tiny(),
        out=str(out),
        steps=12,
        burn_in=2,
        threads=1,
        data=DataConfig(
            labeled=str(drawn / "labeled"),
            unlabeled=str(drawn / "unlabeled"),
            batch_labeled=2,
            batch_unlabeled=4,
        ),
        log=LogConfig(metrics=2, checkpoint=4, keep=3, online_labels=2),
        pseudo=SemiSupervisedSettings(score_threshold=0.051),  # low: a few steps make no confident teacher
    )


@pytest.fixture(scope="session", name="short_run")
def short_run_fixture() -> Callable[[Path, Path], TrainConfig]:
    """Give `short_run`, as test modules cannot import this one."""
    return short_run


@pytest.fixture(scope="session")
def torchrun() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Give a function that starts processes as torchrun does; what they say goes to FOLDER/said.txt."""
    started = []

    def start(num: int, folder: Path, *command: str) -> subprocess.Popen[bytes]:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num}"]
        with (folder / "said.txt").open("a") as said:
            process = subprocess.Popen(
                [*launcher, *command], stdout=said, stderr=said, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()  # torchrun ends its processes, within 30 s
            process.wait(timeout=60)


@pytest.fixture
def run_config(drawn: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """Return a configuration of a short run on the drawn data; keywords replace its fields."""

    def make(**changes: object) -> TrainConfig:
        return replace(short_run(drawn, tmp_path / "run"), **changes)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def trained(drawn: Path) -> Path:
    """Folder of a finished short run."""
    config = short_run(drawn, drawn / "runs" / "short")
    assert train(config) == 0
    return Path(config.out)


@pytest.fixture(scope="session")
def _stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stored")
    (root / "images").mkdir()
    images = [{"id": n, "file_name": f"{n}.png", "width": 40, "height": 30} for n in range(1, 5)]
    for image in images:
        Image.new("RGB", (40, 30), (50 * image["id"], 0, 0)).save(root / "images" / image["file_name"])
    boxes = [
        {"id": n, "image_id": n, "category_id": n % 2, "bbox": [1, 2, 9, 8], "area": 72, "iscrowd": 0}
        for n in range(1, 5)
    ]
    categories = [{"id": 0, "name": "disk"}, {"id": 1, "name": "ring"}]
    document = {"images": images, "annotations": boxes, "categories": categories}
    (root / "coco.json").write_text(json.dumps(document))
    shard(
        ShardConfig(
            source=f"{root}/coco.json", images=f"{root}/images", out=f"{root}/set", per_shard=2, workers=1
        )
    )
    dataset = Dataset.open(f"{root}/set")
    for number in (1, 2):
        round_ = open_round(round_path(f"{root}/labels", number))
        round_.begin({"provenance": {"dataset_hash": dataset.hash, "n": number}, "score_threshold": 0.5})
        for stem in ("shard-000000", "shard-000001"):
            truth = dataset.ground_truth().read(stem)
            table = truth.select(LABEL_SCHEMA.names).cast(LABEL_SCHEMA)
            round_.labels(num_classes=2).write(stem, table, {"dataset_hash": dataset.hash})
        round_.finish(round_info(dataset, number, num_boxes=4))
    return root


@pytest.fixture
def stored(_stored: Path, tmp_path: Path) -> Path:
    """Folder of four images: images/, coco.json, the labeled set set/ of two shards, labels/ with two rounds."""
    root = Path(shutil.copytree(_stored, tmp_path / "stored"))
    for path in root.glob("labels/round=*/round.json"):  # the data set is found where it lies now
        head = json.loads(path.read_text())
        path.write_text(json.dumps({**head, "dataset_root": f"{root}/set"}))
    return root


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Give a miniature of COCO in the folders of its downloads."""
    root = tmp_path / "coco"
    rng = np.random.default_rng(0)
    (root / "annotations").mkdir(parents=True)
    for name, kind, count in (
        ("train2017", "instances", 40),
        ("val2017", "instances", 4),
        ("unlabeled2017", "image_info", 6),
    ):
        (root / name).mkdir()
        images = [
            {"id": number, "file_name": f"{number}.jpg", "width": 48, "height": 36} for number in range(count)
        ]
        for image in images:
            Image.fromarray(rng.integers(0, 255, (36, 48, 3), dtype=np.uint8)).save(
                root / name / str(image["file_name"])
            )
        document = {"images": images, "categories": [{"id": 1, "name": "disk"}]}
        if kind == "instances":
            boxes = [
                {"id": number, "image_id": number, "category_id": 1, "bbox": [1, 1, 9, 9]}
                for number in range(count)
            ]
            document["annotations"] = boxes
        (root / f"annotations/{kind}_{name}.json").write_text(json.dumps(document))
    return root


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Give the folder above a miniature of VOCdevkit."""
    root = tmp_path / "downloads/VOCdevkit"
    lists = {
        "VOC2007": {"trainval": ["000001", "000002"], "test": ["000003"]},
        "VOC2012": {"trainval": ["2008_000001"]},
    }
    for year, subsets in lists.items():
        for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
            (root / year / folder).mkdir(parents=True)
        for subset, names in subsets.items():
            (root / year / f"ImageSets/Main/{subset}.txt").write_text("\n".join(names))
            for number, name in enumerate(names):
                Image.new("RGB", (50, 40), (number, 0, 0)).save(root / year / f"JPEGImages/{name}.jpg")
                objects = "".join(
                    f"<object><name>dog</name><difficult>{difficult}</difficult><bndbox><xmin>1</xmin><ymin>1</ymin>"
                    f"<xmax>20</xmax><ymax>20</ymax></bndbox></object>"
                    for difficult in (0, 1)
                )
                (root / year / f"Annotations/{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    return root.parent
