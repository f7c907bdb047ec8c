"""Every kind of damage is made for real on a small set, and found and named; and nothing else is."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from storage import files
from storage.dataset.dataset import Dataset
from storage.dataset.write_dataset import write_dataset
from storage.errors import StoreError
from storage.readers.coco import read_coco
from storage.readers.folder import read_folder
from storage.readers.open_source import open_source
from storage.verify.check_dataset import CheckResult, check_dataset
from storage.verify.findings import MAX_KEPT, Finding, Findings

SHARD = "shard-000001.tar"
Row = dict[str, Any]


def check(root: str | Path, **options: Any) -> CheckResult:
    return check_dataset(str(root), on_shard=lambda _: True, **options)


def found(checked: CheckResult) -> dict[str, list[tuple[str, str | None]]]:
    """File and key of every finding, by kind."""
    assert checked.findings.total() == sum(map(len, checked.findings.kept.values()))
    return {
        kind: [(finding.file, finding.key) for finding in kept]
        for kind, kept in checked.findings.kept.items()
    }


@pytest.fixture(scope="module")
def sound(tiny_coco: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `labeled` and `hidden`: 30 images in 4 shards each."""
    root = tmp_path_factory.mktemp("sound")
    source = read_coco(str(tiny_coco.annotations))
    options: dict[str, Any] = {"images_root": str(tiny_coco.images), "name": "tiny", "per_shard": 8}
    write_dataset(str(root / "labeled"), source, **options)
    document = {k: v for k, v in tiny_coco.document.items() if k != "annotations"}
    (root / "unlabeled.json").write_text(json.dumps(document))
    write_dataset(str(root / "hidden"), read_coco(str(root / "unlabeled.json")), hidden=source, **options)
    return root


@pytest.fixture
def labeled(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound / "labeled", tmp_path / "labeled"))


def rows_of(root: Path, shard: str = SHARD) -> list[Row]:
    return [row for row in Dataset.open(str(root)).images().to_pylist() if row["shard"] == shard]


def edit_tar(root: Path, change: Callable[[bytearray], bytes | bytearray], shard: str = SHARD) -> None:
    path = root / shard
    path.write_bytes(bytes(change(bytearray(path.read_bytes()))))


def rewrite_tar(root: Path, change: Callable[[str, bytes], Iterator[tuple[str, bytes]]]) -> None:
    """Write the tar anew, each member as `change` gives it, and move the rows of the table along."""
    sink = io.BytesIO()
    places: dict[str, tuple[int, int]] = {}
    with tarfile.open(root / SHARD) as old, tarfile.open(fileobj=sink, mode="w") as new:
        for member in old:
            data = old.extractfile(member)
            assert data is not None
            for name, changed in change(member.name, data.read()):
                info = tarfile.TarInfo(name)
                info.size = len(changed)
                if not name.endswith(".json"):
                    places.setdefault(name.split(".")[0], (sink.tell() + 512, len(changed)))
                new.addfile(info, io.BytesIO(changed))
    (root / SHARD).write_bytes(sink.getvalue())

    def moved(row: Row) -> None:
        if row["shard"] == SHARD and row["key"] in places:
            row["offset"], row["size"] = places[row["key"]]

    edit_rows(root, moved)


def edit_rows(root: Path, change: Callable[[Row], None], *, table: str = "images.parquet") -> None:
    before = pq.read_table(root / table)
    rows = before.to_pylist()
    for row in rows:
        change(row)
    pq.write_table(pa.Table.from_pylist(rows, schema=before.schema), root / table)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", ["labeled", "hidden"])
def test_a_clean_set_is_clean(sound: Path, name: str, quick: bool) -> None:
    before = {path: path.read_bytes() for path in (sound / name).rglob("*") if path.is_file()}
    checked = check(sound / name, quick=quick)
    assert not checked.findings, checked.findings
    assert (checked.num_files, checked.num_images) == (4, 30)
    assert checked.num_boxes > 0
    assert checked.num_bytes == sum(path.stat().st_size for path in (sound / name).glob("*.tar"))
    assert before == {path: path.read_bytes() for path in (sound / name).rglob("*") if path.is_file()}


@pytest.mark.parametrize("format_", ["voc", "yolo", "folder", "mixed"])
def test_a_clean_set_of_every_source_is_clean(
    format_: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    if format_ in {"voc", "yolo"}:
        root = request.getfixturevalue(format_)
        path = str(root / "VOC2007") if format_ == "voc" else str(root / "data.yaml")
        opened = open_source(path, kind=format_)  # type: ignore[arg-type]
        source, images = opened.images, opened.images_root
    else:
        folder.mkdir()
        pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
        exif = Image.Exif()
        exif[0x0112] = 6
        names = ["a.jpg"] if format_ == "folder" else ["a.jpg", "b.png", "c.webp", "d.tif", "e.bmp", "f.jpeg"]
        for name in names:
            Image.fromarray(pixels).save(folder / name, **({"exif": exif} if name[0] in "acd" else {}))
        source, images = read_folder(str(folder)), str(folder)
    written = write_dataset(str(tmp_path / "set"), source, images_root=images, name="set").dataset
    checked = check(written.root)
    assert not checked.findings, checked.findings
    assert checked.num_images == written.num_images > 0


def test_a_flipped_byte_of_an_image_is_named_by_its_key(labeled: Path) -> None:
    row = rows_of(labeled)[3]

    def flip(tar: bytearray) -> bytearray:
        tar[row["offset"] + row["size"] // 2] ^= 1
        return tar

    edit_tar(labeled, flip)
    assert found(check(labeled)) == {"changed bytes": [(SHARD, row["key"])]}
    assert not check(labeled, quick=True).findings  # bytes are what --quick leaves out


@pytest.mark.parametrize("quick", [False, True])
def test_a_truncated_shard_says_how_many_images_are_lost(labeled: Path, quick: bool) -> None:
    rows = rows_of(labeled)
    edit_tar(labeled, lambda tar: tar[: rows[5]["offset"] + 10])
    checked = check(labeled, quick=quick)
    assert found(checked) == {"truncated shard": [(SHARD, None)]}
    assert f"3 images lost, the first is {rows[5]['key']}" in str(checked.findings.kept["truncated shard"][0])


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("which", ["image", "description"])
def test_one_broken_header_costs_one_image_and_not_the_rest_of_the_shard(
    labeled: Path, which: str, quick: bool
) -> None:
    row, following = rows_of(labeled)[2:4]
    at = row["offset"] - 512 if which == "image" else following["offset"] - 512 - 1024
    for damage in (b"\xff" * 7, bytes(512)):  # a broken name; a block of zeros, where readers believe the end

        def overwrite(tar: bytearray, damage: bytes = damage) -> bytearray:
            tar[at : at + len(damage)] = damage
            return tar

        edit_tar(labeled, overwrite)
        assert found(check(labeled, quick=quick)) == {"damaged tar header": [(SHARD, row["key"])]}


@pytest.mark.parametrize("quick", [False, True])
def test_a_removed_member_is_missed(labeled: Path, quick: bool) -> None:
    image, description = (row["key"] for row in rows_of(labeled)[2:4])

    def without(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
        if name not in {f"{image}.jpg", f"{image}.json", f"{description}.json"}:
            yield name, data

    rewrite_tar(labeled, without)
    assert found(check(labeled, quick=quick)) == {
        "missing image": [(SHARD, image)],
        "missing KEY.json": [(SHARD, description)],
    }


def test_members_twice_and_members_without_a_row_are_named(labeled: Path) -> None:
    first, second, last = (rows_of(labeled)[index]["key"] for index in (0, 1, -1))

    def more(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
        yield name, data
        if name == f"{last}.json":
            yield f"{first}.json", data
            yield "stranger.jpg", data
            yield "stranger.json", b"{}"
            yield "alone.json", b"{}"
            yield f"{second}.png", data

    rewrite_tar(labeled, more)
    assert found(check(labeled)) == {
        "member twice": [(SHARD, first)],
        "stray member": [(SHARD, None), (SHARD, "alone")],
        "image without a row": [(SHARD, "stranger")],
    }


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("offset", [10**9, 700])
def test_a_place_that_points_anywhere_costs_no_other_image(labeled: Path, offset: int, quick: bool) -> None:
    key = rows_of(labeled)[6]["key"]
    edit_rows(labeled, lambda row: row.update(offset=offset) if row["key"] == key else None)
    assert found(check(labeled, quick=quick)) == {"wrong byte range": [(SHARD, key)]}


@pytest.mark.parametrize("quick", [False, True])
def test_swapped_places_of_two_rows_are_both_named(labeled: Path, quick: bool) -> None:
    one, two = rows_of(labeled)[1:3]
    place = {one["key"]: two, two["key"]: one}

    def swap(row: Row) -> None:
        if row["key"] in place:
            row["offset"], row["size"] = place[row["key"]]["offset"], place[row["key"]]["size"]

    edit_rows(labeled, swap)
    assert found(check(labeled, quick=quick)) == {
        "wrong byte range": [(SHARD, one["key"]), (SHARD, two["key"])]
    }


def test_swapped_rows_are_out_of_order(labeled: Path) -> None:
    table = pq.read_table(labeled / "images.parquet")
    order = list(range(30))
    order[9], order[10] = order[10], order[9]
    pq.write_table(table.take(order), labeled / "images.parquet")
    assert found(check(labeled)) == {"rows out of order": [(SHARD, table["key"][9].as_py())]}


@pytest.mark.parametrize(
    ("column", "value", "kind", "quick_kind"),
    [
        ("sha256", "0" * 64, "changed bytes", "hash that dataset.json does not say"),
        ("width", 1000, "wrong size", "KEY.json that differs"),
        ("image_id", 99, "KEY.json that differs", "KEY.json that differs"),
    ],
)
def test_a_wrong_value_of_a_row_is_named_by_its_key(
    labeled: Path, column: str, value: object, kind: str, quick_kind: str
) -> None:
    key = rows_of(labeled)[4]["key"]
    edit_rows(labeled, lambda row: row.update({column: value}) if row["key"] == key else None)
    assert found(check(labeled)) == {kind: [(SHARD, key)]}
    assert list(found(check(labeled, quick=True))) == [quick_kind]


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda _: b"\xff\xd8\xff garbage", "undecodable image"),
        (lambda data: data[: len(data) // 2], "undecodable image"),
        (lambda _: _encoded((3, 5), "JPEG"), "wrong size"),
        (lambda data: _encoded(Image.open(io.BytesIO(data)).size, "PNG"), "wrong extension"),
    ],
)
def test_an_image_that_is_hashed_but_not_the_one_described_is_named(
    labeled: Path, make: Callable[[bytes], bytes], kind: str
) -> None:
    key, hashes = rows_of(labeled)[4]["key"], {}

    def other(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
        changed = make(data) if name == f"{key}.jpg" else data
        hashes[name.split(".")[0], name.endswith("json")] = hashlib.sha256(changed).hexdigest()
        yield name, changed

    rewrite_tar(labeled, other)
    edit_rows(labeled, lambda row: row.update(sha256=hashes.get((row["key"], False), row["sha256"])))
    assert found(check(labeled)) == {kind: [(SHARD, key)]}


def _encoded(size: tuple[int, int], format_: str) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", size).save(sink, format_)
    return sink.getvalue()


def test_a_description_that_is_no_json_is_named(labeled: Path) -> None:
    key = rows_of(labeled)[0]["key"]

    def broken(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
        yield name, b"[1, " if name == f"{key}.json" else data

    rewrite_tar(labeled, broken)
    assert found(check(labeled)) == {"KEY.json that differs": [(SHARD, key)]}


@pytest.mark.parametrize("quick", [False, True])
def test_a_description_with_other_boxes_than_the_truth_is_named(labeled: Path, quick: bool) -> None:
    with_boxes = [
        row["key"]
        for row in pq.read_table(labeled / "ground_truth/shard-000001.parquet").to_pylist()
        if row["boxes"]
    ]
    moved, other_class, without = with_boxes[:3]

    def told(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
        if name.endswith(".json"):
            description = json.loads(data)
            if name == f"{moved}.json":
                description["boxes"][0][0] += 0.25
            elif name == f"{other_class}.json":
                description["categories"][0] = (description["categories"][0] + 1) % 3
            elif name == f"{without}.json":
                del description["boxes"]
            data = json.dumps(description).encode()
        yield name, data

    rewrite_tar(labeled, told)
    assert found(check(labeled, quick=quick)) == {
        "KEY.json with other boxes": [(SHARD, moved), (SHARD, other_class), (SHARD, without)]
    }


@pytest.mark.parametrize("quick", [False, True])
def test_missing_and_stray_files_are_named(labeled: Path, quick: bool) -> None:
    (labeled / SHARD).rename(labeled / "shard-000009.tar")
    (labeled / "ground_truth" / "shard-000002.parquet").rename(labeled / "ground_truth" / "old.parquet")
    (labeled / ".shard-000003.tar.17-abc.tmp").write_bytes(b"half")
    (labeled / ".parts").mkdir()
    assert found(check(labeled, quick=quick)) == {
        "missing shard": [(SHARD, None)],
        "stray shard": [("shard-000009.tar", None)],
        "missing truth table": [("ground_truth/shard-000002.parquet", None)],
        "stray table": [("ground_truth/old.parquet", None)],
        "leftover of a killed writer": [(".shard-000003.tar.17-abc.tmp", None), (".parts", None)],
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("images.parquet", "unreadable image table"),
        ("ground_truth/shard-000001.parquet", "unreadable truth table"),
        ("dataset.json", "unreadable dataset.json"),
    ],
)
def test_a_table_cut_in_the_middle_is_named(labeled: Path, name: str, kind: str) -> None:
    path = labeled / name
    path.write_bytes(path.read_bytes()[:-30])
    assert found(check(labeled)) == {kind: [(name, None)]}
    path.unlink()
    assert list(found(check(labeled))) == [kind.replace("unreadable truth", "missing truth")]


def test_rows_that_are_gone_or_twice_are_named(labeled: Path) -> None:
    table = pq.read_table(labeled / "images.parquet")
    keys = table["key"].to_pylist()
    order = [index for index in range(30) if index != 11]
    pq.write_table(table.take(order), labeled / "images.parquet")
    assert found(check(labeled)) == {"image without a row": [(SHARD, keys[11])]}
    pq.write_table(table.take([0, *range(30)]), labeled / "images.parquet")
    assert found(check(labeled)) == {"key in two rows": [("images.parquet", keys[0])]}
    pq.write_table(table.drop_columns(["sha256"]), labeled / "images.parquet")
    assert found(check(labeled)) == {"unreadable image table": [("images.parquet", None)]}


def test_what_dataset_json_says_is_held_against_the_tables(labeled: Path) -> None:
    head = json.loads((labeled / "dataset.json").read_text())
    for changes, kind in (
        ({"num_images": 31}, "count that dataset.json does not say"),
        ({"num_boxes": 1}, "count that dataset.json does not say"),
        ({"hash": "0" * 64}, "hash that dataset.json does not say"),
        ({"category_ids": [1, 2]}, "unreadable dataset.json"),
    ):
        (labeled / "dataset.json").write_text(json.dumps({**head, **changes}))
        assert found(check(labeled)) == {kind: [("dataset.json", None)]}
    (labeled / "dataset.json").write_text(json.dumps({**head, "shards": head["shards"][:-1]}))
    assert found(check(labeled)) == {
        "shard that dataset.json does not list": [("images.parquet", None)],
        "stray shard": [("shard-000003.tar", None)],
        "stray table": [("ground_truth/shard-000003.parquet", None)],
    }


@pytest.mark.parametrize("folder", ["ground_truth", "hidden_truth"])
def test_boxes_outside_unknown_classes_and_other_rows_of_truth_are_named(
    sound: Path, tmp_path: Path, folder: str
) -> None:
    root = tmp_path / "set"
    shutil.copytree(sound / {"ground_truth": "labeled", "hidden_truth": "hidden"}[folder], root)
    name = f"{folder}/shard-000001.parquet"
    table = pq.read_table(root / name)
    with_boxes = [row["key"] for row in table.to_pylist() if row["boxes"]]
    outside, nan, unknown = with_boxes[:3]

    def change(row: Row) -> None:
        if row["key"] == outside:
            row["boxes"][0][2] = row["width"] + 1.0
        elif row["key"] == nan:
            row["boxes"][0][1] = float("nan")
        elif row["key"] == unknown:
            row["categories"][0] = 3

    edit_rows(root, change, table=name)
    assert found(check(root, quick=True)) == {
        "box outside its image": [(name, outside), (name, nan)],
        "unknown class": [(name, unknown)],
    }
    pq.write_table(table.take([1, 0, 2, 3, 4, 5, 6, 7]), root / name)
    assert found(check(root, quick=True)) == {"truth rows that differ": [(name, None)]}
    pq.write_table(table.take([1, 1, 2, 3, 4, 5, 6, 7]), root / name)
    keys = table["key"].to_pylist()
    assert found(check(root, quick=True)) == {"truth rows that differ": [(name, keys[0]), (name, keys[1])]}
    pq.write_table(table, root / name)
    edit_rows(root, lambda row: row.update(height=70) if row["key"] == keys[5] else None, table=name)
    assert found(check(root)) == {"truth rows that differ": [(name, keys[5])]}


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("boxes", pa.array([1] * 8)),
        ("key", pa.array([None] * 8, pa.string())),
        ("crowd_categories", pa.array([[0, 0, 0]] * 8, pa.list_(pa.int32()))),
    ],
)
def test_a_truth_table_of_other_columns_is_named(labeled: Path, column: str, values: pa.Array) -> None:
    name = "ground_truth/shard-000001.parquet"
    table = pq.read_table(labeled / name)
    pq.write_table(table.set_column(table.column_names.index(column), column, values), labeled / name)
    assert found(check(labeled, quick=True)) == {"unreadable truth table": [(name, None)]}


def test_a_set_that_is_not_finished_says_so_and_a_foreign_folder_is_refused(
    labeled: Path, tmp_path: Path
) -> None:
    (labeled / "dataset.json").unlink()
    (labeled / ".parts").mkdir()
    assert found(check(labeled)) == {"unfinished data set": [("dataset.json", None)]}
    (tmp_path / "plain").mkdir()
    with pytest.raises(StoreError, match="got a folder without it"):
        check(tmp_path / "plain")


def test_several_processes_find_the_same_in_the_same_order(labeled: Path) -> None:
    for shard in ("shard-000000.tar", "shard-000002.tar"):
        (labeled / shard).unlink()
    one, several = check(labeled), check(labeled, workers=2)
    assert one.findings == several.findings
    assert (one.num_images, one.num_bytes) == (several.num_images, several.num_bytes)


def test_a_check_that_is_stopped_keeps_what_it_found(labeled: Path) -> None:
    (labeled / "shard-000000.tar").unlink()
    checked = check_dataset(str(labeled), on_shard=lambda _: False)
    assert checked.stopped
    assert (checked.num_files, list(checked.findings.counts)) == (1, ["missing shard"])


@pytest.mark.parametrize("quick", [False, True])
def test_a_set_at_a_url_is_checked_like_one_on_disk(labeled: Path, quick: bool) -> None:
    edit_tar(labeled, lambda tar: tar[: len(tar) // 2])
    memory = fsspec.filesystem("memory")
    for name in files.walk_files(str(labeled)):
        memory.pipe(f"/verify/{name}", (labeled / name).read_bytes())
    try:
        assert check("memory://verify", quick=quick).findings == check(labeled, quick=quick).findings
        assert check(f"file://{labeled}", quick=quick).findings == check(labeled, quick=quick).findings
    finally:
        memory.rm("/verify", recursive=True)


def test_findings_are_counted_beyond_those_that_are_kept() -> None:
    findings = Findings()
    one = Finding("missing image", "a.tar", "one", "none", key="k")
    findings.add(*[one] * (MAX_KEPT + 5))
    assert findings.counts == {"missing image": MAX_KEPT + 5}
    assert len(findings.kept["missing image"]) == MAX_KEPT
    assert str(one) == "a.tar k: expected one, got none"
    written = findings.as_json()["missing image"]
    assert written["count"] == MAX_KEPT + 5
    assert written["findings"][0] == {"place": "a.tar", "key": "k", "expected": "one", "got": "none"}
