"""Opening a data set: clear words when there is none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pytest

from storage.dataset.dataset import IMAGE_SCHEMA, Dataset, images_hash
from storage.errors import InputError


def test_each_reason_not_to_open_has_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "begun" / ".parts").mkdir(parents=True)
    (tmp_path / "annotations.json").write_text("{}")
    (tmp_path / "sets" / "labeled").mkdir(parents=True)
    (tmp_path / "sets" / "labeled" / "dataset.json").write_text("{}")
    for name, words in (
        ("nothing", "got nothing there"),
        ("plain", "got a folder without it"),
        ("begun", "got an unfinished one: .*run the same `mixpl shard` again"),
        ("sets", "got a folder above some: .*; name .*sets/labeled$"),
        ("sets/labeled/dataset.json", "got that file: .*; name the folder, .*sets/labeled$"),
        ("annotations.json", "got a file: .*make a data set of it with `mixpl shard`"),
    ):
        with pytest.raises(InputError, match=words):
            Dataset.open(str(tmp_path / name))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "expected JSON"),
        ('{"schema_version": 99}', "schema version 1, got version 99"),
        ('{"schema_version": 1, "name": "a"}', "expected the fields of a data set"),
    ],
)
def test_a_damaged_description_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(InputError, match=rf"{words}.*dataset\.json"):
        Dataset.open(str(tmp_path))


def test_a_description_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_bytes(b'{"name": "\xff"}')
    with pytest.raises(InputError, match=r"expected JSON.*dataset\.json"):
        Dataset.open(str(tmp_path))


def test_an_image_table_of_another_set_is_refused(tmp_path: Path) -> None:
    dataset = Dataset(
        root=str(tmp_path),
        name="a",
        classes=("disk",),
        category_ids=(1,),
        num_images=2,
        num_boxes=0,
        labeled=True,
        has_hidden_truth=False,
        source={},
        split=None,
        shards=("shard-000000.tar",),
        hash="",
    )
    dataset.write()
    assert Dataset.open(str(tmp_path)) == dataset
    assert json.loads((tmp_path / "dataset.json").read_text())["classes"] == ["disk"]
    with pytest.raises(InputError, match="expected the image table"):
        dataset.images()
    pa.parquet.write_table(IMAGE_SCHEMA.empty_table(), tmp_path / "images.parquet")
    with pytest.raises(InputError, match=r"expected 2 rows as dataset\.json says, got 0"):
        dataset.images()


def test_the_hash_of_images_is_that_of_their_sorted_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.dataset.dataset.HASH_ROWS", 3)
    for count in (0, 1, 3, 7):
        keys = [f"{(5 * number) % 7:03d}ß" for number in range(count)]
        table = pa.table({"key": pa.array(keys, pa.string()), "sha256": pa.array(keys[::-1], pa.string())})
        lines = sorted(f"{key} {sha}" for key, sha in zip(keys, keys[::-1], strict=True))
        assert images_hash(table) == hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_the_hash_of_images_does_not_depend_on_their_order() -> None:
    table = pa.table({"key": ["a", "b"], "sha256": ["1", "2"]})
    assert images_hash(table) == images_hash(table.take([1, 0]))
    assert images_hash(table) != images_hash(pa.table({"key": ["a", "b"], "sha256": ["2", "1"]}))
