"""A small workspace on disk: labeled images, unlabeled ones with kept-apart truth, a round of labels."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from storage.database.connect import connect
from storage.dataset.dataset import Dataset
from storage.dataset.write_dataset import write_dataset
from storage.labels import Labels
from storage.readers.coco import read_coco
from storage.rounds.round import open_round, round_path
from storage.tables.label_table import label_table
from tests.rounds import round_info

CLASSES = ("disk", "square", "tee")
WIDTH, HEIGHT = 200, 160

# image id -> (category, x1, y1, x2, y2)
LABELED = {
    1: [(0, 0, 0, 10, 10), (0, 50, 50, 90, 90)],
    2: [(0, 5, 5, 60, 60), (1, 100, 20, 120, 40)],
    3: [(0, 30, 30, 50, 50)],
    4: [(1, 10, 10, 30, 30), (2, 60, 60, 75, 75)],
    5: [],
}
HIDDEN = {
    11: [(0, 0, 0, 10, 10), (0, 50, 50, 90, 90), (1, 100, 100, 199, 159)],
    12: [(2, 20, 20, 50, 50)],
    13: [],
    14: [(1, 20, 20, 60, 60)],
}
# image id -> (category, x1, y1, x2, y2, score)
PSEUDO = {
    11: [(0, 0, 0, 10, 11, 0.9), (0, 50, 52, 90, 90, 0.6), (1, 0, 0, 10, 10, 0.8), (0, 50, 50, 90, 90, 0.3)],
    12: [(1, 20, 20, 50, 50, 0.7), (2, 20, 20, 50, 50, 0.4)],
    13: [(0, 100, 100, 140, 140, 0.2)],
    14: [],  # labeled as empty
}
SCORE_THRESHOLD = 0.5


def labels_of(rows_by_image):
    parts = []
    for rows in rows_by_image.values():
        values = np.array(rows, np.float32).reshape(len(rows), -1) if rows else np.zeros((0, 6), np.float32)
        scores = values[:, 5] if values.shape[1] == 6 else None
        parts.append(Labels.of_image(values[:, 1:5], values[:, 0], scores))
    return Labels.concatenate(parts)


def coco_document(truth, *, annotated=True):
    annotations = [
        {"image_id": image, "category_id": category + 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
        for image, rows in truth.items()
        for category, x1, y1, x2, y2 in rows
    ]
    document = {
        "images": [
            {"id": image, "file_name": f"{image}.jpg", "width": WIDTH, "height": HEIGHT} for image in truth
        ],
        "categories": [{"id": number + 1, "name": name} for number, name in enumerate(CLASSES)],
    }
    if annotated:
        document["annotations"] = [
            {**annotation, "id": number, "area": annotation["bbox"][2] * annotation["bbox"][3]}
            for number, annotation in enumerate(annotations, 1)
        ]
    return document


def write_round(root, dataset, pseudo, *, number=1, score_threshold=SCORE_THRESHOLD):
    ids = list(pseudo)
    table = label_table(
        [f"{image:012d}" for image in ids], ids, [(HEIGHT, WIDTH)] * len(ids), labels_of(pseudo), step=100
    )
    unfinished = open_round(round_path(str(root), number))
    provenance = {"dataset": dataset.name, "dataset_hash": dataset.hash}
    for shard in dataset.shards:
        rows = [key in dataset.keys_of(shard) for key in table["key"].to_pylist()]
        unfinished.labels().write(shard.removesuffix(".tar"), table.filter(rows), provenance)
    return unfinished.finish(
        round_info(
            dataset,
            number=number,
            classes=CLASSES,
            score_threshold=score_threshold,
            num_images=len(ids),
            num_boxes=len(table),
            provenance={"run": "mixpl"},
        )
    )


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("workspace")
    (root / "images").mkdir()
    for image in (*LABELED, *HIDDEN):
        Image.new("RGB", (WIDTH, HEIGHT), (image, 99, 99)).save(root / "images" / f"{image}.jpg")
    documents = {
        "labeled": coco_document(LABELED),
        "unlabeled": coco_document(HIDDEN, annotated=False),
        "hidden": coco_document(HIDDEN),
    }
    for name, document in documents.items():
        (root / f"{name}.json").write_text(json.dumps(document))
    settings = {"images_root": str(root / "images"), "per_shard": 3, "workers": 1, "strict": True}
    write_dataset(
        str(root / "labeled"), read_coco(str(root / "labeled.json")), name="labeled", hidden=None, **settings
    )
    unlabeled = write_dataset(
        str(root / "unlabeled"),
        read_coco(str(root / "unlabeled.json")),
        name="unlabeled",
        hidden=read_coco(str(root / "hidden.json")),
        **settings,
    ).dataset
    write_round(root / "labels", unlabeled, PSEUDO)
    return root


@pytest.fixture
def con(workspace):
    with connect(str(workspace)) as connection:
        yield connection


NEWER_PSEUDO = {
    11: [(0, 0, 0, 10, 10, 0.95), (0, 51, 51, 90, 90, 0.45), (1, 100, 100, 199, 159, 0.85)],
    12: [(2, 20, 20, 50, 50, 0.8), (2, 22, 22, 52, 52, 0.55)],
    13: [],
    14: [(1, 20, 20, 60, 62, 0.65), (0, 150, 100, 190, 150, 0.58)],
}


@pytest.fixture(scope="session")
def two_rounds(workspace, tmp_path_factory):
    """The workspace with a second round over the same images."""
    root = tmp_path_factory.mktemp("two") / "workspace"
    shutil.copytree(workspace, root)
    write_round(root / "labels", Dataset.open(str(root / "unlabeled")), NEWER_PSEUDO, number=2)
    return root
