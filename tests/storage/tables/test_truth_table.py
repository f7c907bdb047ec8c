"""Difficult objects and federated fields: from a source into truth tables, and back, and out of the way of SQL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from storage.database.connect import connect
from storage.dataset.dataset import Dataset
from storage.dataset.write_dataset import write_dataset
from storage.readers.coco import read_coco
from storage.readers.image_set import ImageSet
from storage.readers.voc import read_voc
from storage.tables.label_table import table_labels
from storage.tables.schemas import TRUTH_SCHEMA
from storage.tables.truth_table import table_difficult, table_federated
from storage.truth import Federated


def write(root: Path, source: ImageSet, images: Path, **options: Any) -> Dataset:
    return write_dataset(
        str(root), source, images_root=str(images), name=root.name, **{"per_shard": 1} | options
    ).dataset


@pytest.fixture
def federated(tiny_coco: Any, tmp_path: Path) -> ImageSet:
    document = json.loads(tiny_coco.annotations.read_text())
    for image in document["images"]:
        image["neg_category_ids"] = [7] if image["id"] % 2 else []
        image["not_exhaustive_category_ids"] = [3, 5]
    (tmp_path / "lvis.json").write_text(json.dumps(document))
    return read_coco(str(tmp_path / "lvis.json"))


def test_difficult_objects_lie_in_columns_of_their_own_in_every_shard(voc: Path, tmp_path: Path) -> None:
    year = voc / "VOC2007"
    (year / "Annotations/000007.xml").write_text(
        (year / "Annotations/000007.xml").read_text().replace("<difficult>1", "<difficult>0")
    )
    dataset = write(tmp_path / "set", read_voc(str(year)), year)
    assert (dataset.num_boxes, len(dataset.shards)) == (3, 2)
    table = dataset.ground_truth().read_all()
    assert table_labels(table).counts().tolist() == [1, 2]
    difficult = table_difficult(table)
    assert difficult.counts().tolist() == [1, 0]
    assert difficult.boxes_N4.tolist() == [[10, 5, 20, 25]]
    assert dataset.classes[difficult.categories_N[0]] == "cat"
    assert b'"difficult' not in Path(dataset.shard_path(dataset.shards[0])).read_bytes()


def test_federated_fields_survive_the_way_through_shards(
    federated: ImageSet, tiny_coco: Any, tmp_path: Path
) -> None:
    dataset = write(tmp_path / "set", federated, tiny_coco.images, per_shard=7)
    found = table_federated(dataset.ground_truth().read_all())
    assert federated.truth is not None
    assert found == federated.truth.federated
    assert found is not None
    assert found.absent[:2] == ((dataset.classes.index("disk"),), ())
    assert set(found.not_exhaustive) == {(dataset.classes.index("ring"), dataset.classes.index("star"))}


def test_federated_fields_of_an_unlabeled_set_are_hidden_truth_only(
    federated: ImageSet, tiny_coco: Any, tmp_path: Path
) -> None:
    bare = read_coco(str(tiny_coco.annotations))
    unlabeled = ImageSet(
        path=bare.path, sha256=bare.sha256, classes=bare.classes, category_ids=bare.category_ids,
        image_ids=bare.image_ids, file_names=bare.file_names, sizes=bare.sizes, truth=None, split=None,
        problems=bare.problems,
    )  # fmt: skip
    dataset = write(tmp_path / "set", unlabeled, tiny_coco.images, per_shard=30, hidden=federated)
    hidden = dataset.hidden_truth()
    assert hidden is not None
    assert isinstance(table_federated(hidden.read_all()), Federated)
    assert not {"absent_categories", "not_exhaustive_categories"} & {*dataset.images().column_names}


def test_a_source_that_knows_neither_gets_no_more_columns(tiny_coco: Any, tmp_path: Path) -> None:
    source = read_coco(str(tiny_coco.annotations))
    table = write(tmp_path / "set", source, tiny_coco.images, per_shard=30).ground_truth().read_all()
    assert table.column_names == TRUTH_SCHEMA.names
    assert table_federated(table) is None
    assert table_difficult(table).counts().tolist() == [0] * len(table)


@pytest.mark.parametrize("names", [("a-coco", "b-lvis", "c-voc"), ("c-coco", "b-lvis", "a-voc")])
def test_sets_with_and_without_such_columns_are_asked_together(
    federated: ImageSet, tiny_coco: Any, voc: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    sources = (read_coco(str(tiny_coco.annotations)), federated, read_voc(str(voc)))
    places = (tiny_coco.images, tiny_coco.images, voc)
    sets = [
        write(tmp_path / "root" / name, source, place, per_shard=30)
        for name, source, place in zip(names, sources, places, strict=True)
    ]
    with connect(str(tmp_path / "root")) as connection:
        query = "select dataset, count(*) from ground_truth group by 1 order by 1"
        assert connection.execute(query).fetchall() == sorted((one.name, one.num_boxes) for one in sets)
