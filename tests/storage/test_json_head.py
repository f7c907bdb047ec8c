"""Small JSON files: what was written is read, in any spelling of earlier versions; what is wrong is named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from storage.dataset.dataset import Dataset
from storage.errors import StoreError
from storage.json_head import HeadFormat
from storage.rounds.round import open_round


@dataclass(frozen=True, kw_only=True, slots=True)
class Pond:
    name: str
    frogs: tuple[int, ...]
    depth: float | None = None


FORMAT = HeadFormat(kind=Pond, what="a pond", remedy="dig it again", version=2)


@pytest.mark.parametrize("pond", [Pond(name="Teich ü", frogs=(1, 2)), Pond(name="", frogs=(), depth=1.5)])
def test_what_was_written_is_read(tmp_path: Path, pond: Pond) -> None:
    location = str(tmp_path / "pond.json")
    assert FORMAT.read(location) is None
    FORMAT.write(location, pond)
    assert FORMAT.read(location) == pond
    assert "ü" not in pond.name or "Teich ü" in Path(location).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", r"expected JSON, got .*: WHERE; dig it again"),
        (b'{"name": "\xff"}', r"expected JSON, got .*utf-8.*: WHERE; dig it again"),
        (b"[]", r"expected the fields of a pond, got .*`object`, got `array`.*: WHERE; dig it again"),
        (b'{"schema_version": 2, "name": "a"}', r"missing required field `frogs`\): WHERE; dig it again"),
        (b'{"schema_version": 2, "name": 1, "frogs": []}', r"`str`, got `int` - at `\$\.name`\): WHERE; dig"),
        (
            b'{"schema_version": 2, "name": "", "frogs": ["a"]}',
            r"`int`, got `str` - at `\$\.frogs\[0\]`\): WHERE",
        ),
        (
            b'{"schema_version": 3}',
            r"a pond of schema version 2, got version 3: WHERE; a newer mixpl wrote it",
        ),
        (
            b'{"schema_version": "x"}',
            r"schema version 2, got version x: WHERE; dig it again",
        ),
        (b'{"name": "a", "frogs": []}', r"schema version 2, got version 1: WHERE; dig it again"),
    ],
)
def test_what_is_wrong_is_named_with_place_and_remedy(text: bytes, words: str) -> None:
    with pytest.raises(StoreError, match=words):
        FORMAT.parse(text, where="WHERE")


def test_unknown_fields_are_passed_over_and_missing_ones_may_come_beside() -> None:
    text = b'{"schema_version": 2, "name": "a", "fish": 3}'
    assert FORMAT.parse(text, where="", frogs=(4,)) == Pond(name="a", frogs=(4,))


def test_the_order_of_fields_changes_no_byte() -> None:
    names: dict[str, Any] = {"frogs": [1], "name": "a"}
    assert FORMAT.encode(names) == FORMAT.encode(dict(reversed(names.items())))


DATASET_OF_0_9 = """{
  "category_ids": [7, 3], "classes": ["disk", "ring"], "has_hidden_truth": false, "hash": "e3b0", "labeled": true,
  "name": "labeled", "num_boxes": 4, "num_images": 2, "schema_version": 1, "shards": ["shard-000000.tar"],
  "source": {"annotations": "a.json", "per_shard": 256, "hidden_truth_sha256": null},
  "split": {"family": "exact", "percent": 10.0, "part": "labeled"}
}"""

ROUND_OF_0_9 = """{
  "number": 3, "dataset_name": "unlabeled", "dataset_root": "data/unlabeled", "dataset_hash": "d",
  "classes": ["disk", "ring"], "score_threshold": 1, "num_images": 1, "num_boxes": 1, "seconds": 2.5,
  "provenance": {"weights_hash": "w", "teacher_step": 4}, "finished_at": "2026-01-02T03:04:05.678+00:00",
  "schema_version": 1, "complete": true
}"""


def test_files_of_earlier_versions_are_read(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(DATASET_OF_0_9)
    dataset = Dataset.open(str(tmp_path))
    assert (dataset.root, dataset.classes, dataset.num_boxes) == (str(tmp_path), ("disk", "ring"), 4)
    assert dataset.split == {"family": "exact", "percent": 10.0, "part": "labeled"}
    folder = tmp_path / "round=0003"
    folder.mkdir()
    (folder / "round.json").write_text(ROUND_OF_0_9)
    (folder / "begun.json").write_text('{"provenance": {"weights_hash": "w"}, "score_threshold": 0.4}')
    (folder / "tables.json").write_text(
        '{"schema_version": 1, "tables": {"tables-1f/part-000000": ["shard-0"]}}'
    )
    round_ = open_round(str(folder))
    assert round_.info is not None
    assert (round_.info.number, round_.info.score_threshold) == (3, 1.0)
    assert round_.info.finished_at == "2026-01-02T03:04:05.678+00:00"
    assert round_.terms() == {"provenance": {"weights_hash": "w"}, "score_threshold": 0.4}
    assert round_.compacted == {"tables-1f/part-000000": ("shard-0",)}
