"""A folder of labels appears complete or not at all, and says what it is."""

from __future__ import annotations

import errno
import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import fsspec
import numpy as np
import pyarrow as pa
import pytest

from storage import files
from storage.database.connect import connect
from storage.database.workspace import Workspace
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError, StoreError
from storage.export import read_round
from storage.export.condition import Condition
from storage.export.export import EXPORT_FILE, IMAGE_FOLDERS, Format, export_labels
from storage.export.header import ExportHeader
from storage.export.image_files import safe_names
from storage.export.labeled_images import IMAGE_SCHEMA, LabeledImages
from storage.export.queries import copy_images, copy_labels
from storage.export.read_round import LabelSource, labeled_images
from storage.export.yolo import write_yolo
from storage.labels import Labels
from storage.readers.coco import read_coco
from storage.readers.image_set import ImageSet
from storage.readers.voc import read_voc
from storage.readers.yolo import read_yolo
from storage.rounds.round import open_round
from storage.rounds.round_thresholds import THRESHOLD_SCHEMA
from storage.tables.label_store import LabelStore
from storage.tables.label_table import label_table, table_labels

FORMATS: tuple[Format, ...] = get_args(Format)


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


def num_pseudo_labels(source: LabelSource) -> int:
    with connect(
        Workspace(datasets=(source.dataset,), rounds=(open_round(source.round.path),))
    ) as connection:
        return int(connection.sql("SELECT count(*) FROM pseudo_labels").fetchall()[0][0])


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_labels_give_the_same_bytes_and_are_not_changed(
    form: Format, source: LabelSource, tmp_path: Path
) -> None:
    before = contents(Path(source.round.path))
    for name in ("one", "two"):
        export_labels(source, str(tmp_path / name), form=form, images=form == "fiftyone")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(Path(source.round.path)) == before


def test_the_counts_are_those_of_the_pseudo_labels(source: LabelSource, tmp_path: Path) -> None:
    store = source.round.labels()
    counts = [
        int((labels.image(index).scores_N > source.info.score_threshold).sum())
        for labels in (table_labels(store.read(stem)) for stem in store.stems())
        for index in range(len(labels))
    ]
    written = export_labels(source, str(tmp_path / "out"), form="coco")
    assert (written.num_images, written.num_boxes) == (29, sum(counts))
    assert written.num_empty == counts.count(0) > 0
    assert num_pseudo_labels(source) == sum(counts)
    about = json.loads((tmp_path / "out" / EXPORT_FILE).read_text())
    assert (about["num_images"], about["num_boxes"]) == (29, sum(counts))
    assert about["selection"] == "score > 0.5"
    assert about["provenance"]["weights_hash"] == "0123456789abcdef"
    document = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert (len(document["images"]), len(document["annotations"])) == (29, sum(counts))


def test_an_image_not_labeled_is_in_no_format_and_one_without_boxes_in_each(
    source: LabelSource, tmp_path: Path
) -> None:
    for form in FORMATS:
        export_labels(source, str(tmp_path / form), form=form, condition=Condition("false"))
    for path in ("coco-results/images.json", "coco/annotations.json", "fiftyone/labels.json"):
        document = json.loads((tmp_path / path).read_text())
        assert [image["id"] for image in document["images"]] == list(range(1, 30))
        assert document.get("annotations", []) == []
    assert json.loads((tmp_path / "coco-results" / "results.json").read_text()) == []
    labels = contents(tmp_path / "yolo" / "labels")
    assert len(labels) == 29
    assert "sub/7.txt" in labels
    assert "30.txt" not in labels
    assert set(labels.values()) == {b""}
    assert len(contents(tmp_path / "voc" / "Annotations")) == 29
    tasks = json.loads((tmp_path / "labelstudio" / "tasks-000000.json").read_text())
    assert [task["predictions"][0]["result"] for task in tasks] == [[]] * 29


def test_a_class_has_its_own_threshold_where_the_round_has_thresholds(
    source: LabelSource, tmp_path: Path
) -> None:
    own = [0.2, 0.6, 0.9]
    rows = [
        {"category": category, "class": name, "policy": "fixed", "score_threshold": own[category]}
        for category, name in enumerate(source.info.classes)
    ]
    incomplete = replace(source.round, info=None)
    (Path(source.round.path) / "round.json").unlink()
    incomplete.write_thresholds(pa.Table.from_pylist(rows, schema=THRESHOLD_SCHEMA))
    incomplete.finish(source.info)
    written = export_labels(source, str(tmp_path / "out"), form="coco")
    store = source.round.labels()
    labels = [table_labels(store.read(stem)) for stem in store.stems()]
    expected = sum(int((one.scores_N > np.array(own)[one.categories_N]).sum()) for one in labels)
    assert written.num_boxes == expected
    by_column = export_labels(
        source, str(tmp_path / "by_column"), form="coco", condition=Condition("score > score_threshold")
    )
    assert by_column.num_boxes == expected
    assert num_pseudo_labels(source) == expected


@pytest.mark.parametrize(
    ("form", "folder"), [("fiftyone", "data"), ("yolo", "images"), ("voc", "JPEGImages")]
)
def test_unpacked_images_are_the_original_bytes(
    form: Format, folder: str, source: LabelSource, tmp_path: Path, tiny_coco: object
) -> None:
    export_labels(source, str(tmp_path / "out"), form=form, images=True)
    original = contents(tiny_coco.images)  # type: ignore[attr-defined]
    del original["30.jpg"]  # not labeled
    assert contents(tmp_path / "out" / folder) == original


def test_fiftyone_gets_a_coco_folder(source: LabelSource, tmp_path: Path) -> None:
    """Of the layout of FiftyOne's COCODetectionDataset: data/ and labels.json, whose file names lie in data/."""
    export_labels(source, str(tmp_path / "fiftyone"), form="fiftyone", images=True)
    export_labels(source, str(tmp_path / "coco"), form="coco")
    labels = (tmp_path / "fiftyone" / "labels.json").read_bytes()
    assert labels == (tmp_path / "coco" / "annotations.json").read_bytes()
    document = json.loads(labels)
    assert set(document) == {"info", "licenses", "categories", "images", "annotations"}
    for image in document["images"]:
        assert (tmp_path / "fiftyone" / "data" / image["file_name"]).is_file()


@pytest.mark.parametrize(
    ("form", "read"),
    [
        ("yolo", lambda path: read_yolo(path)[0]),
        ("voc", read_voc),
        ("coco", lambda path: read_coco(f"{path}/annotations.json")),
    ],
)
def test_an_exported_folder_is_a_source_of_shards_with_the_same_boxes(
    form: Format, read: Callable[[str], ImageSet], source: LabelSource, tmp_path: Path
) -> None:
    export_labels(source, str(tmp_path / "out"), form=form, images=True)
    found = read(str(tmp_path / "out"))
    assert not found.problems
    assert found.truth is not None
    expected = {}
    for batch in labeled_images(source, None):
        for index, name in enumerate(batch.file_names):
            one = batch.labels.image(index)
            expected[name] = (
                [batch.images["height"][index].as_py(), batch.images["width"][index].as_py()],
                [source.info.classes[c] for c in one.categories_N],
                one.boxes_N4,
            )
    assert len(found) == len(expected) == 29
    for index, path in enumerate(found.file_names):
        size, classes, boxes_N4 = expected[path.removeprefix("images/").removeprefix("JPEGImages/")]
        one = found.truth.labels.image(index)
        assert [found.classes[category] for category in one.categories_N] == classes
        np.testing.assert_array_equal(found.sizes[index], size)
        np.testing.assert_allclose(one.boxes_N4, boxes_N4, rtol=0, atol=1e-3)


def test_names_that_end_like_the_flags_of_lists_come_back_from_voc(
    source: LabelSource, tmp_path: Path
) -> None:
    odd = [
        "photo 1.jpg",
        "photo 0.png",
        "photo -1.jpg",
        "photo.jpg",
        "no suffix",
        " led.jpg",
        "trailed .jpg",
        "a  1.jpg",
    ]
    names = odd + [f"{number} 1.jpg" for number in range(len(odd), source.dataset.num_images)]
    images = source.dataset.images()
    column = images.schema.get_field_index("file_name")
    changed = replace(source.dataset, name="renamed")
    changed.__dict__["_images"] = images.set_column(column, "file_name", pa.array(names))
    export_labels(replace(source, dataset=changed), str(tmp_path / "out"), form="voc", images=True)
    before, after = tmp_path / "out/JPEGImages", read_voc(str(tmp_path / "out"))
    assert not after.problems
    assert sorted(name.removeprefix("JPEGImages/") for name in after.file_names) == sorted(names[:29])
    assert sorted(str(path.relative_to(before)) for path in before.iterdir()) == sorted(names[:29])
    assert after.truth is not None
    batches = list(labeled_images(source, None))
    counts = dict(zip(names, [count for batch in batches for count in batch.labels.counts()], strict=False))
    for name, count in zip(after.file_names, after.truth.labels.counts(), strict=True):
        assert counts[name.removeprefix("JPEGImages/")] == count


def test_a_folder_called_images_in_a_file_name_does_not_confuse_yolo(tmp_path: Path) -> None:
    """Trainers turn the last folder `images` of a path into `labels`."""
    images = LabeledImages(
        images=pa.table([[0], [1], ["images/train/a.jpg"], [100], [50]], schema=IMAGE_SCHEMA),
        labels=Labels.of_image([(10, 10, 30, 20)], [1], [0.9]),
    )
    header = ExportHeader(
        classes=("a", "b"), category_ids=(1, 2), dataset="d", description="all", model_version="round-1"
    )
    write_yolo(tmp_path, [images], header, scores=False)
    assert (tmp_path / "images" / "labels" / "train" / "a.txt").read_text() == "1 0.2 0.3 0.2 0.2\n"


def test_a_failure_in_the_middle_leaves_nothing_behind(source: LabelSource, tmp_path: Path) -> None:
    before = contents(tmp_path)
    fails_late = Condition("CASE WHEN image_id = 28 THEN error('on purpose') ELSE true END")
    with pytest.raises(ConfigError, match="on purpose"):
        export_labels(source, str(tmp_path / "out"), form="yolo", condition=fails_late)
    assert contents(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels"]


def test_a_full_disk_is_an_error_of_the_system_that_names_the_file(tmp_path: Path) -> None:
    images = pa.table([[0], [1], ["a.jpg"], [100], [50]], schema=IMAGE_SCHEMA)
    labels = LabeledImages(images=images, labels=Labels.of_image([(10, 10, 30, 20)], [1], [0.9]))
    for write in (
        lambda path: copy_images("coco_images", images, path),
        lambda path: copy_labels("coco_results", [labels], path, category_ids=[1, 2]),
    ):
        with pytest.raises(OSError, match="No space left on device") as caught:
            write(Path("/dev/full"))
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/dev/full")
        with pytest.raises(FileNotFoundError, match="gone"):
            write(tmp_path / "gone" / "a.json")


@pytest.mark.parametrize("form", FORMATS)
def test_a_folder_that_cannot_be_made_is_named(form: Format, source: LabelSource) -> None:
    with pytest.raises(OSError, match="/proc/out") as caught:
        export_labels(source, "/proc/out", form=form)
    assert caught.value.filename == "/proc/out"


def test_nothing_is_replaced(source: LabelSource, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="a name that is not there yet"):
        export_labels(source, str(tmp_path / "out"), form="yolo")
    assert contents(tmp_path / "out") == {"mine.txt": b"mine"}


def test_an_object_store_gets_the_same_files(source: LabelSource, tmp_path: Path) -> None:
    remote = f"memory://{uuid.uuid4().hex}/out"
    for out in (remote, str(tmp_path / "out")):
        export_labels(source, out, form="voc")
    filesystem, path = fsspec.core.url_to_fs(remote)
    found = {name.removeprefix(path).lstrip("/"): filesystem.cat_file(name) for name in filesystem.find(path)}
    assert found == contents(tmp_path / "out")
    assert files.exists(f"{remote}/{EXPORT_FILE}")


def test_how_many_images_come_at_once_makes_no_difference(
    source: LabelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for form in FORMATS:
        export_labels(source, str(tmp_path / "whole" / form), form=form)
    monkeypatch.setattr(read_round, "IMAGES_AT_ONCE", 3)
    for form in FORMATS:
        export_labels(source, str(tmp_path / "parts" / form), form=form)
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")


@pytest.mark.parametrize(
    ("form", "options", "message"),
    [
        ("coco-results", {"images": True}, "images with coco, yolo, voc, fiftyone only"),
        ("coco", {"scores": False}, "scores to be left out of yolo only"),
        ("yolo", {"image_url": "https://host/"}, "an image URL for labelstudio only"),
    ],
)
def test_options_of_another_format_are_refused(
    form: Format, options: dict[str, object], message: str, source: LabelSource, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        export_labels(source, str(tmp_path / "out"), form=form, **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def with_names(dataset: Dataset, names: list[str]) -> Dataset:
    table = pa.table({"file_name": names, "image_id": list(range(len(names)))})
    changed = replace(dataset, name="renamed")
    changed.__dict__["_images"] = table
    return changed


ODD_NAMES = {
    "/etc/x.jpg": "%2Fetc/x.jpg",
    "../x.jpg": "%2E%2E/x.jpg",
    "a/../../x.jpg": "a/%2E%2E/%2E%2E/x.jpg",
    "a/./x.jpg": "a/%2E/x.jpg",
    "a//x.jpg": "a/%2Fx.jpg",
    "a/": "a%2F",
    "..": "%2E%2E",
    "": "%",
    "a\nb.jpg": "a%0Ab.jpg",
    "a\\..\\b.jpg": "a%5C..%5Cb.jpg",
    "a\u2028b.jpg": "a%E2%80%A8b.jpg",
}


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_name_that_leaves_the_folder_is_written_as_in_urls(name: str, dataset: Dataset) -> None:
    names = ["a.jpg", name, "é 100%/.a..b.jpg"]
    safe = safe_names(with_names(dataset, names), stems_differ=True).to_pylist()
    assert safe == ["a.jpg", ODD_NAMES[name], "é 100%/.a..b.jpg"]


def test_an_odd_name_never_takes_the_file_of_another_image(dataset: Dataset) -> None:
    with pytest.raises(StoreError, match=r"got 'a%5Cb\.jpg' and 'a\\\\b\.jpg'"):
        safe_names(with_names(dataset, ["a%5Cb.jpg", "a\\b.jpg"]), stems_differ=False)


@pytest.mark.parametrize("form", FORMATS)
def test_images_of_odd_names_are_exported_in_every_format(
    form: Format, source: LabelSource, tmp_path: Path
) -> None:
    odd = [name for name in ODD_NAMES if name.endswith(".jpg")]
    names = [*odd, *(f"{number}.jpg" for number in range(len(odd), source.dataset.num_images))]
    images = source.dataset.images()
    column = images.schema.get_field_index("file_name")
    changed = replace(source.dataset, name="renamed")
    changed.__dict__["_images"] = images.set_column(column, "file_name", pa.array(names))
    written = export_labels(
        replace(source, dataset=changed), str(tmp_path / "out"), form=form, images=form in IMAGE_FOLDERS
    )
    renamed = {ODD_NAMES[name]: name for name in odd}
    about = json.loads((tmp_path / "out" / EXPORT_FILE).read_text())
    if form in IMAGE_FOLDERS:
        assert about["renamed"] == renamed
        assert written.num_renamed == len(renamed)
        below = contents(tmp_path / "out" / IMAGE_FOLDERS[form])
        originals = {str(name): name for name in names} | renamed
        assert sorted(originals[name] for name in below) == sorted(set(names) - {"29.jpg"})
    else:
        assert "renamed" not in about
    for path in ("images.json", "annotations.json", "labels.json"):
        if (tmp_path / "out" / path).exists():
            document = json.loads((tmp_path / "out" / path).read_text())
            expected = names if form == "coco-results" else [ODD_NAMES.get(name, name) for name in names]
            assert [image["file_name"] for image in document["images"]] == expected[:29]
    if form in ("yolo", "voc"):
        found = read_voc(str(tmp_path / "out")) if form == "voc" else read_yolo(str(tmp_path / "out"))[0]
        assert len(found) == 29
        assert not found.problems
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels", "out"]


def test_two_images_never_share_a_label_file(dataset: Dataset) -> None:
    different = with_names(
        dataset, ["a.jpg", "b/a.jpg", "a.v1.jpg", ".jpg", "b/.jpg", "c", "a.b/c", "a..b.jpg"]
    )
    safe_names(different, stems_differ=True)
    same = with_names(dataset, ["a.jpg", "c.jpg", "a.png"])
    safe_names(same, stems_differ=False)
    with pytest.raises(StoreError, match=r"got 'a\.jpg' and 'a\.png'"):
        safe_names(same, stems_differ=True)


def test_a_label_of_an_image_that_the_data_set_lacks_is_named(source: LabelSource) -> None:
    store = LabelStore(source.round.path)
    store.write("shard-999999", label_table(["x"], [99], [(5, 5)], Labels.empty(1)), {})
    with pytest.raises(StoreError, match=r"got image 99, which it lacks: .*shard-999999\.parquet"):
        list(labeled_images(source, None))


def test_a_class_that_the_round_does_not_know_is_named_with_its_row(source: LabelSource) -> None:
    store = LabelStore(source.round.path)
    labels = Labels.of_image([(0, 0, 5, 5)], [3])
    store.write("shard-999999", label_table(["000000000001"], [1], [(5, 5)], labels), {})
    with pytest.raises(
        StoreError, match=r"categories within 0\.\.2, got 3 in row 0, .*shard-999999\.parquet"
    ):
        list(labeled_images(source, None))


def test_a_table_cut_short_is_named(source: LabelSource, tmp_path: Path) -> None:
    path = Path(source.round.labels().path("shard-000001"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StoreError, match=r"shard-000001\.parquet"):
        export_labels(source, str(tmp_path / "out"), form="coco")
    assert not (tmp_path / "out").exists()
