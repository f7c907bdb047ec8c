"""A round is complete when every image of the data set has its row, or a reason that lies in the image itself."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.label import LabelConfig, label
from storage import remote
from storage.dataset.dataset import Dataset
from storage.errors import StoreError
from storage.rounds.round import Round, list_rounds
from storage.rounds.without_row import read_without_row
from tests.faulty_store import Fault, FaultyStore, faulty_store

NUM_SHARDS = 3


@pytest.fixture
def few(drawn: Path, tmp_path: Path) -> Path:
    """The first shards of the unlabeled images, as a data set of its own."""
    folder = tmp_path / "few"
    source = Dataset.open(str(drawn / "unlabeled"))
    shards = source.shards[:NUM_SHARDS]
    folder.mkdir()
    for shard in shards:
        shutil.copy(source.shard_path(shard), folder)
    table = source.images()
    kept = table.filter(pa.array([shard in shards for shard in table["shard"].to_pylist()]))
    pq.write_table(kept, folder / "images.parquet")
    dataset = replace(source, root=str(folder), shards=shards, num_images=len(kept), has_hidden_truth=False)
    dataset.write()
    return folder


@pytest.fixture
def store(few: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(remote, "DEADLINE", 0.5)
    with faulty_store(few) as store:
        yield store


def config(trained: Path, data: object, out: Path, **changes: object) -> LabelConfig:
    return LabelConfig(run=str(trained), data=str(data), out=str(out), threads=1, **changes)  # type: ignore[arg-type]


def rows(out: Path) -> dict[str, list[dict[str, object]]]:
    (round_,) = list_rounds(str(out))
    return {stem: round_.labels().read(stem).to_pylist() for stem in round_.labels().stems()}


def the_round(out: Path) -> Round:
    (round_,) = list_rounds(str(out))
    return round_


def change(few: Path, row: int) -> dict[str, object]:
    """Flip a bit of an image where it lies; return its row of the image table."""
    image: dict[str, object] = Dataset.open(str(few)).images().slice(row, 1).to_pylist()[0]
    with (few / str(image["shard"])).open("r+b") as tar:
        place = int(image["offset"]) + int(image["size"]) // 2  # type: ignore[call-overload]
        tar.seek(place)
        byte = tar.read(1)[0]
        tar.seek(place)
        tar.write(bytes([byte ^ 16]))
    return image


@pytest.mark.parametrize("fault", ["short", "flip", "reset", "503", "404"])
def test_a_shard_that_cannot_be_had_keeps_the_round_open_until_it_can(
    few: Path, store: FaultyStore, trained: Path, tmp_path: Path, fault: Fault
) -> None:
    job = config(trained, store.url, tmp_path / "labels")
    store.fail("shard-000001.tar", fault)
    with pytest.raises(
        StoreError, match=r"got none of 1, the first is shard-000001\.tar: image .*again.*--accept"
    ):
        label(job)
    assert not the_round(tmp_path / "labels").complete
    assert [*rows(tmp_path / "labels")] == ["shard-000000", "shard-000002"]
    store.repair()
    assert label(job) == 0
    assert label(config(trained, few, tmp_path / "undisturbed")) == 0
    assert rows(tmp_path / "labels") == rows(tmp_path / "undisturbed")
    info = the_round(tmp_path / "labels").info
    assert info is not None
    assert info.num_images == Dataset.open(str(few)).num_images
    assert info.num_without_row == 0


def test_flipped_bytes_are_never_labeled_and_said_to_be_changed(
    few: Path, trained: Path, tmp_path: Path
) -> None:
    image = change(few, 60)
    job = config(trained, few, tmp_path / "labels")
    with pytest.raises(
        StoreError, match=rf"image {image['key']}: its bytes were changed since .* copy the shard"
    ):
        label(job)
    assert label(replace(job, accept_unreadable=True)) == 0
    round_ = the_round(tmp_path / "labels")
    assert round_.info is not None
    assert round_.info.accepted_unreadable == (image["key"],)
    assert round_.info.num_without_row == 1
    (reason,) = read_without_row(round_.path, "shard-000001").values()
    assert not reason.lasting
    assert "its bytes were changed" in reason.reason
    assert json.loads(Path(round_.path, "round.json").read_text())["accepted_unreadable"] == [image["key"]]


def test_an_image_that_never_decoded_has_a_lasting_reason_and_the_round_is_complete(
    few: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = Dataset.open(str(few)).images()
    image = images.slice(3, 1).to_pylist()[0]
    bytes_ = b"\xff\xd8 no image at all".ljust(image["size"], b"\0")
    with (few / image["shard"]).open("r+b") as tar:
        tar.seek(image["offset"])
        tar.write(bytes_)
    hashes = images["sha256"].to_pylist()
    hashes[3] = hashlib.sha256(bytes_).hexdigest()
    column = images.column_names.index("sha256")
    pq.write_table(images.set_column(column, "sha256", pa.array(hashes)), few / "images.parquet")
    assert label(config(trained, few, tmp_path / "labels")) == 0
    round_ = the_round(tmp_path / "labels")
    assert round_.info is not None
    assert round_.info.num_images == len(images) - 1
    assert (round_.info.num_without_row, round_.info.accepted_unreadable) == (1, ())
    ((key, reason),) = read_without_row(round_.path, "shard-000000").items()
    assert key == image["key"]
    assert reason.lasting
    assert "cannot be decoded" in reason.reason
    assert "its bytes are those that the set was written with" in reason.reason
    assert (
        f"shard-000000: 1 images have no row, the first is {key}: cannot be decoded"
        in capsys.readouterr().out
    )


def test_a_table_that_lacks_images_without_a_reason_is_labeled_again(
    few: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = config(trained, few, tmp_path / "labels")
    assert label(job) == 0
    round_ = the_round(tmp_path / "labels")
    whole = rows(tmp_path / "labels")
    store = round_.labels()
    part, provenance = store.read("shard-000002").slice(4), store.provenance("shard-000002")
    store.write("shard-000002", part, provenance)
    shutil.copy(Path(round_.path, "shard-000000.parquet"), Path(round_.path, "shard-000001.parquet"))
    Path(round_.path, "round.json").unlink()
    assert label(job) == 0
    assert rows(tmp_path / "labels") == whole
    # a round that an earlier version completed without them is read, and says so
    assert round_.info is not None
    Path(round_.path, "round.json").unlink()
    the_round(tmp_path / "labels").finish(replace(round_.info, num_images=round_.info.num_images - 4))
    capsys.readouterr()
    assert label(job) == 0
    assert "4 images have no row and no reason" in capsys.readouterr().out


def test_what_was_accepted_is_labeled_by_a_run_that_does_not_accept_it(
    few: Path, trained: Path, tmp_path: Path
) -> None:
    image = change(few, 60)
    first = config(trained, few, tmp_path / "labels", worker=1, workers=NUM_SHARDS, accept_unreadable=True)
    assert label(first) == 0
    assert not the_round(tmp_path / "labels").complete
    change(few, 60)  # as it was
    assert label(config(trained, few, tmp_path / "labels")) == 0
    round_ = the_round(tmp_path / "labels")
    assert round_.info is not None
    assert round_.info.num_without_row == 0
    assert image["key"] in round_.labels().read("shard-000001")["key"].to_pylist()
    assert not [*Path(round_.path).glob("*.without-row.json")]
