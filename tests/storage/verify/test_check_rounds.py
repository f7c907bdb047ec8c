"""A complete round that lost a table, or holds another one, is named; one in the making is left alone."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.dataset.dataset import Dataset
from storage.dataset.write_dataset import write_dataset
from storage.labels import Labels
from storage.readers.coco import read_coco
from storage.rounds.compaction import compact
from storage.rounds.round import Round, open_round, round_path
from storage.rounds.without_row import WithoutRow, write_without_row
from storage.tables.label_table import label_table
from storage.verify.check_dataset import CheckResult
from storage.verify.check_rounds import check_rounds, holds_rounds
from tests.rounds import round_info


@pytest.fixture
def dataset(tiny_coco: Any, tmp_path: Path) -> Dataset:
    source = read_coco(str(tiny_coco.annotations))
    root = str(tmp_path / "set")
    return write_dataset(root, source, images_root=str(tiny_coco.images), name="tiny", per_shard=8).dataset


def labeled_round(dataset: Dataset, root: Path, number: int = 1) -> Round:
    """A finished round with one box in every image."""
    round_ = open_round(round_path(str(root), number))
    store = round_.labels(num_classes=len(dataset.classes))
    for shard in dataset.shards:
        rows = [row for row in dataset.images().to_pylist() if row["shard"] == shard]
        one = Labels.of_image([[0, 0, 9, 9]], [1], [0.5])
        sizes = [(row["height"], row["width"]) for row in rows]
        keys, ids = [row["key"] for row in rows], [row["image_id"] for row in rows]
        store.write(
            shard.removesuffix(".tar"),
            label_table(keys, ids, sizes, Labels.concatenate([one] * len(rows))),
            {},
        )
    return round_.finish(round_info(dataset, number=number, score_threshold=0.3, num_images=30, num_boxes=30))


def check(root: Path, *, quick: bool = False) -> CheckResult:
    return check_rounds(str(root), quick=quick, on_table=lambda: True)


def found(checked: CheckResult) -> dict[str, list[str]]:
    return {kind: [finding.file for finding in kept] for kind, kept in checked.findings.kept.items()}


@pytest.mark.parametrize("quick", [False, True])
def test_complete_rounds_and_those_in_the_making_are_well(
    dataset: Dataset, tmp_path: Path, quick: bool
) -> None:
    labels = tmp_path / "labels"
    labeled_round(dataset, labels)
    compact(labeled_round(dataset, labels, 2))
    (Path(labeled_round(dataset, labels, 3).path) / "round.json").unlink()
    (labels / "round=0003" / "shard-000000.parquet").unlink()
    assert holds_rounds(str(labels))
    assert holds_rounds(str(labels / "round=0001"))
    assert not holds_rounds(dataset.root)
    checked = check(labels, quick=quick)
    assert not checked.findings, checked.findings
    assert (checked.num_files, checked.num_images) == (5, 60)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("compacted", [False, True])
def test_a_lost_table_is_named(dataset: Dataset, tmp_path: Path, compacted: bool, quick: bool) -> None:
    round_ = labeled_round(dataset, tmp_path)
    name = "shard-000002.parquet"
    if compacted:
        round_ = compact(round_, table_bytes=1).round
        assert round_.compacted is not None
        name = f"{list(round_.compacted)[2]}.parquet"
    (Path(round_.path) / name).unlink()
    assert round_.lost_tables(dataset.shards) == [name]
    assert found(check(tmp_path, quick=quick)) == {"missing label table": [f"round=0001/{name}"]}
    assert found(check(Path(round_.path), quick=quick)) == {"missing label table": [f"round=0001/{name}"]}


@pytest.mark.parametrize("quick", [False, True])
def test_a_lost_table_is_noticed_by_the_count_where_the_data_set_is_gone(
    dataset: Dataset, tmp_path: Path, quick: bool
) -> None:
    round_ = labeled_round(dataset, tmp_path / "labels")
    Path(dataset.root).rename(tmp_path / "moved")
    assert not check(tmp_path / "labels", quick=quick).findings
    (Path(round_.path) / "shard-000003.parquet").unlink()
    assert found(check(tmp_path / "labels", quick=quick)) == {
        "count that round.json does not say": ["round=0001/round.json"]
    }


def test_damaged_tables_and_heads_are_named(dataset: Dataset, tmp_path: Path) -> None:
    round_ = labeled_round(dataset, tmp_path)
    cut, wrong = (Path(round_.path) / f"shard-00000{number}.parquet" for number in (0, 1))
    cut.write_bytes(cut.read_bytes()[:-20])
    table = pq.read_table(wrong)
    scores = pa.array([[2.0]] * 8, table.schema.field("scores").type)
    pq.write_table(table.set_column(6, table.schema.field("scores"), scores), wrong)
    assert found(check(tmp_path)) == {
        "unreadable label table": ["round=0001/shard-000000.parquet"],
        "unsound labels": ["round=0001/shard-000001.parquet"],
    }
    for damage in (b"{", b"\xff"):
        (Path(round_.path) / "round.json").write_bytes(damage)
        assert found(check(tmp_path)) == {"unreadable round": ["round=0001"]}


@pytest.mark.parametrize(
    ("name", "content"), [("round.json", None), ("tables.json", '{"schema_version": 1, "tables": 3}')]
)
def test_a_compacted_round_without_one_of_its_heads_is_named(
    dataset: Dataset, tmp_path: Path, name: str, content: str | None
) -> None:
    head = Path(compact(labeled_round(dataset, tmp_path)).round.path) / name
    head.unlink()
    if content is not None:
        head.write_text(content)
    assert found(check(tmp_path)) == {"unreadable round": ["round=0001"]}


@pytest.mark.parametrize("with_checksums", [False, True])
def test_a_table_copied_over_another_is_found_though_the_counts_are_right(
    dataset: Dataset, tmp_path: Path, with_checksums: bool
) -> None:
    round_ = labeled_round(dataset, tmp_path / "labels")
    folder = Path(round_.path)
    one, other = folder / "shard-000001.parquet", folder / "shard-000002.parquet"
    if with_checksums:
        sha256 = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in (one, other)}
        assert round_.info is not None
        (folder / "round.json").unlink()
        open_round(round_.path).finish(replace(round_.info, sha256=sha256))
        one.write_bytes(other.read_bytes())
    else:  # as an earlier version wrote them: no checksum, no name within
        pq.write_table(pq.read_table(other).replace_schema_metadata({"mixpl": '{"provenance": {}}'}), one)
    checked = check(tmp_path / "labels")
    kind = "unreadable label table" if with_checksums else "labels of other images"
    assert found(checked) == {kind: ["round=0001/shard-000001.parquet"]}
    assert checked.num_images == (22 if with_checksums else 30)


def test_images_without_a_row_are_named_with_their_reason(dataset: Dataset, tmp_path: Path) -> None:
    round_ = labeled_round(dataset, tmp_path / "labels")
    assert round_.info is not None
    store, stem = round_.labels(), "shard-000000"
    table = store.read(stem)
    store.write(stem, table.slice(2), {})
    first, second = table["key"].to_pylist()[:2]
    (Path(round_.path) / "round.json").unlink()
    info = replace(round_.info, num_images=28, num_boxes=28, num_without_row=1)
    open_round(round_.path).finish(info)
    write_without_row(round_.path, stem, {first: WithoutRow(reason="cannot be decoded", lasting=True)})
    checked = check(tmp_path / "labels")
    assert not checked.findings
    assert checked.set_apart == [
        f"1 images of round=0001/{stem}, which have no row; the first is {first}: cannot be decoded",
        "1 images of round=0001, which have no row and no reason: an earlier version left them out",
    ]
    assert second not in str(checked.set_apart)


def test_a_check_that_is_stopped_says_so(dataset: Dataset, tmp_path: Path) -> None:
    labeled_round(dataset, tmp_path)
    checked = check_rounds(str(tmp_path), on_table=lambda: False)
    assert checked.stopped
    assert checked.num_files == 1
