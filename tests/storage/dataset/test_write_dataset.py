"""From images to shards: original bytes, named omissions, and the same end however often it is killed."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image, ImageOps

from storage import files
from storage.dataset import write_dataset as write_dataset_module
from storage.dataset.dataset import Dataset
from storage.dataset.write_dataset import Written, write_dataset
from storage.errors import InputError, SourceError
from storage.readers.coco import read_coco
from storage.readers.image_set import ImageSet
from storage.readers.open_source import open_source
from storage.tables.label_table import table_labels
from storage.tables.truth_table import table_areas, table_crowds
from tests.together import TRIALS, together


def write(root: Path | str, source: ImageSet, images: Path, **options: Any) -> Written:
    return write_dataset(
        str(root), source, images_root=str(images), **{"name": "tiny", "per_shard": 8} | options
    )


def contents(root: Path) -> dict[str, str]:
    """Every file below a folder with the hash of its bytes, hidden ones too."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def source(tiny_coco: Any) -> ImageSet:
    return read_coco(str(tiny_coco.annotations))


@pytest.fixture(scope="module")
def written(tiny_coco: Any, source: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write(tmp_path_factory.mktemp("written") / "tiny", source, tiny_coco.images).dataset


def test_a_written_data_set_opens_with_what_was_put_in(written: Dataset, source: ImageSet) -> None:
    dataset = Dataset.open(written.root)
    assert dataset == written
    assert dataset.num_images == len(source) == 30
    assert dataset.shards == tuple(f"shard-{index:06d}.tar" for index in range(4))
    assert dataset.classes == ("ring", "star", "disk")
    assert dataset.category_ids == (3, 5, 7)
    assert source.truth is not None
    assert dataset.num_boxes == len(source.truth.labels.boxes_N4)
    assert not files.exists(files.join(written.root, ".parts"))


def test_the_byte_range_of_each_image_holds_the_original_file(written: Dataset, tiny_coco: Any) -> None:
    rows = written.images().to_pylist()
    assert len({row["key"] for row in rows}) == 30
    for row in rows:
        data = files.read_range(written.shard_path(row["shard"]), row["offset"], row["size"])
        assert data == (tiny_coco.images / row["file_name"]).read_bytes()
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
        assert Image.open(io.BytesIO(data)).size == (row["width"], row["height"])


# webdataset leaves closing the tar to the garbage collector
@pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_any_webdataset_user_reads_images_with_their_boxes(written: Dataset, source: ImageSet) -> None:
    shard = written.shard_path(written.shards[0])
    samples = list(webdataset.WebDataset(shard, shardshuffle=False).decode())
    assert [sample["json"]["image_id"] for sample in samples] == list(source.image_ids[:8])
    assert source.truth is not None
    for index, sample in enumerate(samples):
        expected = source.truth.labels.image(index)
        np.testing.assert_array_equal(
            np.array(sample["json"]["boxes"], np.float32).reshape(-1, 4), expected.boxes_N4
        )
        assert sample["json"]["categories"] == expected.categories_N.tolist()
        assert sample["__key__"] == f"{sample['json']['image_id']:012d}"
        assert "jpg" in sample


def test_ground_truth_has_a_row_for_each_image_in_the_order_of_the_image_table(
    written: Dataset, source: ImageSet
) -> None:
    table = written.ground_truth().read_all()
    assert table["key"].to_pylist() == written.images()["key"].to_pylist()
    assert source.truth is not None
    np.testing.assert_array_equal(table_labels(table).boxes_N4, source.truth.labels.boxes_N4)
    np.testing.assert_array_equal(table_labels(table).offsets_B1, source.truth.labels.offsets_B1)
    np.testing.assert_array_equal(table_areas(table), source.truth.areas)
    np.testing.assert_array_equal(table_crowds(table).boxes_N4, source.truth.crowds.boxes_N4)
    assert len(source.truth.crowds.boxes_N4) > 0


def test_several_processes_write_the_same_bytes_as_one(
    written: Dataset, source: ImageSet, tiny_coco: Any, tmp_path: Path
) -> None:
    write(tmp_path / "tiny", source, tiny_coco.images, workers=2)
    assert contents(tmp_path / "tiny") == contents(Path(written.root))


KILLED = """
import os, signal, sys, threading
from storage.readers.coco import read_coco
from storage.dataset.write_dataset import write_dataset

def die(num_images):
    global left
    left -= num_images
    if left == 0:  # a moment later, in the middle of a shard
        threading.Timer(0.002, os.kill, (os.getpid(), signal.SIGKILL)).start()

if __name__ == "__main__":
    root, annotations, images, workers, left = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
    source = read_coco(annotations)
    write_dataset(
        root, source, images_root=images, name="tiny", per_shard=1, workers=workers, on_shard=die
    )
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_within_some_shard_and_run_again_it_ends_in_the_same_bytes(
    tiny_coco: Any, source: ImageSet, tmp_path: Path, workers: int
) -> None:
    script, root = tmp_path / "write.py", tmp_path / "killed"
    script.write_text(KILLED)
    arguments = [str(root), str(tiny_coco.annotations), str(tiny_coco.images), str(workers)]
    for after in (2, 9):
        killed = subprocess.run(
            [sys.executable, str(script), *arguments, str(after)], env=path_to_us(), check=False
        )
        assert killed.returncode == -signal.SIGKILL
        assert len(list(root.glob(".parts/*.parquet"))) >= after
    with pytest.raises(InputError, match="unfinished"):
        Dataset.open(str(root))
    wait_until_released(root)
    resumed = write(root, source, tiny_coco.images, per_shard=1)
    assert 9 <= resumed.num_resumed < 30
    write(tmp_path / "whole", source, tiny_coco.images, per_shard=1)
    assert contents(root) == contents(tmp_path / "whole")


def path_to_us() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(__file__).resolve().parents[3]), "OMP_NUM_THREADS": "1"}


def wait_until_released(root: Path) -> None:
    """Wait for orphaned workers, which end by themselves; until then one could leave a temporary file."""
    before: dict[str, str] = {}
    for _ in range(100):
        now = contents(root)
        if now == before:
            return
        before = now
        time.sleep(0.3)
    raise AssertionError("orphans go on writing")


def test_other_arguments_are_refused_before_and_after_the_end(
    source: ImageSet, tiny_coco: Any, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    shutil.copytree(tiny_coco.images, images)
    for path in sorted(images.glob("*.jpg"))[:1]:
        path.unlink()
    with pytest.raises(InputError, match="strict"):
        write(tmp_path / "out", source, images, strict=True)
    with pytest.raises(InputError, match="got per_shard 4 instead of 8"):
        write(tmp_path / "out", source, images, per_shard=4)
    with pytest.raises(InputError, match="got images_folder"):
        write(tmp_path / "out", source, tiny_coco.images)
    write(tmp_path / "out", source, images)
    with pytest.raises(InputError, match="got name 'other' instead of 'tiny'"):
        write(tmp_path / "out", source, images, name="other")
    again = write(tmp_path / "out", source, images)
    assert again.was_complete
    assert [entry["reason"] for entry in again.skipped] == ["missing file"]
    with pytest.raises(InputError, match=r"--strict.*1 skipped earlier"):
        write(tmp_path / "out", source, images, strict=True)


def test_two_writers_of_one_folder_cannot_run_at_once(
    source: ImageSet, tiny_coco: Any, tmp_path: Path
) -> None:
    lock = tmp_path / "out" / ".parts" / "lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another `mixpl shard`"):
            write(tmp_path / "out", source, tiny_coco.images)
    write(tmp_path / "out", source, tiny_coco.images)


def test_bad_images_are_named_with_their_reason_and_left_out(
    source: ImageSet, tiny_coco: Any, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    shutil.copytree(tiny_coco.images, images)
    cut = (images / "2.jpg").read_bytes()[:-40]
    (images / "2.jpg").write_bytes(cut)
    (images / "3.jpg").write_bytes(b"<html>")
    (images / "4.jpg").unlink()
    Image.new("RGB", (5, 5)).save(images / "5.jpg")
    result = write(tmp_path / "out", source, images)
    assert [entry["image_id"] for entry in result.skipped] == [2, 3, 4, 5]
    reasons = [entry["reason"] for entry in result.skipped]
    assert "truncated" in reasons[0]
    assert reasons[1] == "not an image: begins with b'<html>'"
    assert reasons[2] == "missing file"
    assert reasons[3].endswith("annotated, 5 x 5 in the file")
    report = json.loads((tmp_path / "out" / "skipped.json").read_text())
    assert report["images"] == result.skipped
    dataset = result.dataset
    assert dataset.num_images == 26
    keys = dataset.ground_truth().read_all()["key"].to_pylist()
    assert keys == dataset.images()["key"].to_pylist()
    with pytest.raises(InputError, match=r"--strict\), got .*: 2\.jpg, image 2"):
        write(tmp_path / "strict", source, images, strict=True)


def test_a_strict_run_after_the_repair_takes_the_image_in(
    source: ImageSet, tiny_coco: Any, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    shutil.copytree(tiny_coco.images, images)
    whole = (images / "30.jpg").read_bytes()
    (images / "30.jpg").write_bytes(whole[:50])
    with pytest.raises(InputError, match="strict"):
        write(tmp_path / "out", source, images, strict=True)
    (images / "30.jpg").write_bytes(whole)
    assert write(tmp_path / "out", source, images, strict=True).dataset.num_images == 30


def test_no_image_at_all_is_an_error_after_which_one_may_start_anew(
    source: ImageSet, tiny_coco: Any, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="got none of 30, the first because of missing file"):
        write(tmp_path / "out", source, tmp_path)
    assert write(tmp_path / "out", source, tiny_coco.images).dataset.num_images == 30


def test_a_name_that_leaves_the_image_folder_is_left_out(tmp_path: Path, tiny_coco: Any) -> None:
    document = {
        "images": [
            {"id": 1, "file_name": "../images/1.jpg", "width": 1, "height": 1},
            {"id": 2, "file_name": "2.jpg", **size_of(tiny_coco.images / "2.jpg")},
        ],
        "categories": [],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    result = write(tmp_path / "out", read_coco(str(tmp_path / "a.json")), tiny_coco.images)
    assert [entry["reason"] for entry in result.skipped] == ["the file name leaves the image folder"]


def oriented(
    folder: Path, orientation: int, size: tuple[int, int], *, annotated: tuple[int, int]
) -> ImageSet:
    """One image of this stored size and EXIF orientation, with one box and this annotated size."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size).save(folder / "1.jpg", exif=exif)
    width, height = annotated
    document = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": width, "height": height}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 1, "name": "disk"}],
    }
    (folder / "a.json").write_text(json.dumps(document))
    return read_coco(str(folder / "a.json"))


@pytest.mark.parametrize(
    ("orientation", "size", "said"),
    [
        (1, (8, 6), False),
        (2, (8, 6), True),
        (3, (8, 6), True),
        (4, (8, 6), True),
        (6, (8, 6), False),
        (6, (8, 8), True),
    ],
)
def test_an_image_that_exif_turns_within_its_size_is_said(
    tmp_path: Path, orientation: int, size: tuple[int, int], said: bool
) -> None:
    upright = size[::-1] if orientation > 4 else size
    source = oriented(tmp_path, orientation, size, annotated=upright)
    write(tmp_path / "out", source, tmp_path)
    kind = "image turned by its EXIF orientation (boxes taken as of the upright image; else --boxes stored)"
    assert source.problems.remarks == ({kind: 1} if said else {})


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_size_annotated_as_stored_names_exif_and_what_to_do(tmp_path: Path, orientation: int) -> None:
    source = oriented(tmp_path, orientation, (8, 6), annotated=(8, 6))
    words = (
        f"8 x 6 annotated; the file is 8 x 6 stored, 6 x 8 upright by EXIF orientation {orientation}: give "
        "--boxes stored, if its boxes are of the stored pixels"
    )
    with pytest.raises(SourceError, match=words):
        write(tmp_path / "out", source, tmp_path)


@pytest.mark.parametrize("size", [(8, 6), (8, 8)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_of_the_stored_image_are_turned_with_it(
    tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    source = replace(oriented(tmp_path, orientation, size, annotated=size), frame="stored")
    result = write(tmp_path / "out", source, tmp_path)
    pixels = np.zeros((*size[::-1], 3), np.uint8)
    pixels[2:6, 1:4] = 255  # bbox [1, 2, 3, 4]
    stored = Image.fromarray(pixels)
    stored.getexif()[0x0112] = orientation
    rows, columns = np.nonzero(np.array(ImageOps.exif_transpose(stored))[..., 0])
    expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    table = result.dataset.ground_truth().read("shard-000000")
    assert table_labels(table).boxes_N4.tolist() == [expected]
    images = result.dataset.images()
    upright = size[::-1] if orientation > 4 else size
    assert (images["width"][0].as_py(), images["height"][0].as_py()) == upright
    kind = "image turned by its EXIF orientation (its boxes turned with it)"
    assert source.problems.remarks == ({kind: 1} if orientation > 1 else {})


def test_a_size_annotated_upright_is_left_out_where_boxes_are_said_to_be_stored(tmp_path: Path) -> None:
    source = replace(oriented(tmp_path, 6, (8, 6), annotated=(6, 8)), frame="stored")
    words = "6 x 8 annotated; the file is 8 x 6 stored.*: give no --boxes stored"
    with pytest.raises(SourceError, match=words):
        write(tmp_path / "out", source, tmp_path)


@pytest.mark.parametrize("name", ["sub\\1.jpg", "C:/photos/sub/1.JPG", "/photos/sub/1.jpg"])
def test_an_image_of_another_spelling_is_taken_and_said(tmp_path: Path, name: str) -> None:
    source = oriented(tmp_path, 1, (8, 6), annotated=(8, 6))
    (tmp_path / "images/sub").mkdir(parents=True)
    (tmp_path / "1.jpg").rename(tmp_path / "images/sub/1.jpg")
    result = write(tmp_path / "out", replace(source, file_names=(name,)), tmp_path / "images")
    assert result.dataset.images()["file_name"].to_pylist() == ["sub/1.jpg"]
    assert source.problems.examples["image under another spelling of its name (taken)"] == [
        f"{name} is sub/1.jpg"
    ]


def size_of(path: Path) -> dict[str, int]:
    with Image.open(path) as image:
        return {"width": image.width, "height": image.height}


def test_a_folder_of_images_becomes_an_unlabeled_set(tiny_coco: Any, tmp_path: Path) -> None:
    source = open_source(str(tiny_coco.images), kind="folder", classes=("disk",), category_ids=(7,)).images
    dataset = write(tmp_path / "out", source, tiny_coco.images, per_shard=100).dataset
    assert not dataset.labeled
    assert dataset.num_boxes is None
    assert dataset.shards == ("shard-000000.tar",)
    assert dataset.hidden_truth() is None
    with pytest.raises(InputError, match="expected a labeled data set"):
        dataset.ground_truth()


def test_hidden_truth_lies_beside_an_unlabeled_set_and_not_in_its_shards(
    tiny_coco: Any, source: ImageSet, tmp_path: Path
) -> None:
    bare = {key: value for key, value in tiny_coco.document.items() if key != "annotations"}
    bare["images"] = bare["images"][5:20]
    (tmp_path / "unlabeled.json").write_text(json.dumps(bare))
    unlabeled = read_coco(str(tmp_path / "unlabeled.json"))
    dataset = write(tmp_path / "out", unlabeled, tiny_coco.images, hidden=source).dataset
    hidden = dataset.hidden_truth()
    assert hidden is not None
    assert source.truth is not None
    np.testing.assert_array_equal(
        table_labels(hidden.read_all()).boxes_N4, source.truth.images(5, 20).labels.boxes_N4
    )
    for shard in dataset.shards:
        assert b"boxes" not in Path(dataset.shard_path(shard)).read_bytes()
    with pytest.raises(InputError, match="with an unlabeled source only"):
        write(tmp_path / "other", source, tiny_coco.images, hidden=source)


def test_hidden_truth_must_cover_every_image(tiny_coco: Any, tmp_path: Path) -> None:
    whole = {key: value for key, value in tiny_coco.document.items() if key != "annotations"}
    (tmp_path / "whole.json").write_text(json.dumps(whole))
    (tmp_path / "part.json").write_text(
        json.dumps(whole | {"images": whole["images"][5:], "annotations": []})
    )
    unlabeled, part = read_coco(str(tmp_path / "whole.json")), read_coco(str(tmp_path / "part.json"))
    with pytest.raises(InputError, match=r"truth of 30 images, got none for 5, the first with id 1:"):
        write(tmp_path / "out", unlabeled, tiny_coco.images, hidden=part)


def test_a_data_set_may_lie_on_an_object_store(written: Dataset, source: ImageSet, tiny_coco: Any) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    dataset = write(root, source, tiny_coco.images).dataset
    assert Dataset.open(root).hash == dataset.hash == written.hash
    assert dataset.images() == written.images()
    assert dataset.ground_truth().read_all() == written.ground_truth().read_all()
    row = dataset.images().to_pylist()[-1]
    data = files.read_range(dataset.shard_path(row["shard"]), row["offset"], row["size"])
    assert hashlib.sha256(data).hexdigest() == row["sha256"]


def test_a_source_without_images_is_an_error_that_names_it(tiny_coco: Any, tmp_path: Path) -> None:
    document = json.loads(tiny_coco.annotations.read_text()) | {"images": [], "annotations": []}
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"at least one image, got none: .*empty\.json"):
        write(tmp_path / "set", read_coco(str(empty)), tiny_coco.images)


def test_tar_files_of_another_origin_are_not_written_over(
    source: ImageSet, tiny_coco: Any, tmp_path: Path
) -> None:
    foreign = tmp_path / "shard-000000.tar"
    foreign.write_bytes(b"somebody's")
    with pytest.raises(InputError, match=r"got .*shard-000000\.tar; name another folder"):
        write(tmp_path, source, tiny_coco.images)
    assert foreign.read_bytes() == b"somebody's"
    assert not (tmp_path / ".parts").exists(), "it would name the folder an unfinished set"


def write_or_say(rank: int, trial: int, root: str, source: ImageSet, images: Path) -> str:
    time.sleep(rank * (trial % 8) * 1e-2)
    try:
        written = write(f"{root}/{trial}", source, images, per_shard=(8, 8, 5)[rank])
    except InputError as error:
        return str(error)
    return "was complete" if written.was_complete else "written"


@pytest.mark.parametrize("trials", TRIALS)
def test_of_writers_that_start_together_one_writes(
    source: ImageSet, tiny_coco: Any, tmp_path: Path, trials: int
) -> None:
    answers = together(write_or_say, str(tmp_path), source, tiny_coco.images, trials=trials, processes=3)
    for trial, said in enumerate(answers):
        assert said.count("written") == 1, said
        for answer in said:
            assert any(
                words in answer for words in ("written", "was complete", "another `mixpl shard`", "per_shard")
            )
        folder = tmp_path / str(trial)
        assert not list(folder.glob(".*"))
        assert Dataset.open(str(folder)).num_images == len(source)
        assert len(list(folder.glob("*.tar"))) == len(Dataset.open(str(folder)).shards)


def test_a_data_set_that_another_process_finishes_before_the_lock_is_complete(
    source: ImageSet, tiny_coco: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = write_dataset_module._tasks

    def finished_meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(write_dataset_module, "_tasks", plan)
        write(tmp_path / "set", source, tiny_coco.images)
        return plan(*arguments)

    monkeypatch.setattr(write_dataset_module, "_tasks", finished_meanwhile)
    assert write(tmp_path / "set", source, tiny_coco.images).was_complete
