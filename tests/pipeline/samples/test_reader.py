"""Bytes of samples: as they were, and a named error where they cannot be had."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from pipeline.samples.reader import Encoded, SampleReader, SampleUnreadableError
from storage.dataset.dataset import Dataset

DrawSet = Callable[..., Dataset]


def read_all(reader: SampleReader) -> list[bytes]:
    found = reader.read(range(len(reader)))
    assert not [one for one in found if isinstance(one, SampleUnreadableError)]
    return [bytes(one) for one in found if not isinstance(one, SampleUnreadableError)]


def errors(found: list[Encoded | SampleUnreadableError]) -> list[SampleUnreadableError]:
    return [one for one in found if isinstance(one, SampleUnreadableError)]


def originals(dataset: Dataset, folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in dataset.images()["file_name"].to_pylist()]


def test_the_bytes_are_those_of_the_original_files_in_the_order_asked_for(
    draw_set: DrawSet, tmp_path: Path
) -> None:
    dataset = draw_set("set", 10)
    wanted = originals(dataset, tmp_path / "set-images")
    with SampleReader(dataset) as reader:
        assert read_all(reader) == wanted
        assert [bytes(one) for one in reader.read([7, 2, 7])] == [wanted[7], wanted[2], wanted[7]]  # type: ignore[arg-type]
        assert reader.rows_of("shard-000001.tar").tolist() == [4, 5, 6, 7]
        assert reader.rows_of("shard-000009.tar").tolist() == []


def test_the_rows_of_all_shards_are_found_in_one_pass(draw_set: DrawSet) -> None:
    with SampleReader(draw_set("set", 10)) as reader:
        parts = [reader.rows_of(f"shard-00000{number}.tar") for number in range(3)]
    assert [part.tolist() for part in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert parts[0].base is not None
    assert all(part.base is parts[0].base for part in parts)


def test_a_missing_shard_names_every_image_lost_with_it(draw_set: DrawSet) -> None:
    dataset = draw_set("set", 10)
    Path(dataset.shard_path("shard-000001.tar")).unlink()
    with SampleReader(dataset) as reader:
        good, bad = reader.read([3, 5])
    assert not isinstance(good, SampleUnreadableError)
    assert isinstance(bad, SampleUnreadableError)
    assert bad.rows == (4, 5, 6, 7)
    assert bad.key == reader.keys[5]
    assert "shard-000001.tar" in str(bad)
    assert "3 more images" in str(bad)


def test_a_truncated_shard_names_the_images_beyond_its_end(draw_set: DrawSet) -> None:
    dataset = draw_set("set", 4)
    path = Path(dataset.shard_path("shard-000000.tar"))
    table = dataset.images()
    cut = table["offset"][2].as_py() + table["size"][2].as_py() - 1
    path.write_bytes(path.read_bytes()[:cut])
    with SampleReader(dataset) as reader:
        found = reader.read([0, 1, 2, 3])
    assert [error.rows for error in errors(found)] == [(2, 3), (2, 3)]
    assert f"ends at byte {cut}" in str(errors(found)[0])


def test_a_shard_deleted_while_open_stays_readable(draw_set: DrawSet) -> None:
    dataset = draw_set("set", 4)
    with SampleReader(dataset) as reader:
        before = read_all(reader)
        Path(dataset.shard_path("shard-000000.tar")).unlink()
        assert read_all(reader) == before
        reader.close()
        assert len(errors(reader.read([0]))) == 1


def test_a_process_out_of_file_handles_blames_no_shard(
    draw_set: DrawSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_handle_left(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with SampleReader(draw_set("set", 4)) as reader:
        monkeypatch.setattr("pipeline.samples.reader.os.open", no_handle_left)
        with pytest.raises(OSError, match="Too many open files"):
            reader.read([0])


def test_a_remote_set_gives_the_same_bytes_and_the_same_errors(draw_set: DrawSet, tmp_path: Path) -> None:
    local = draw_set("set", 6)
    root = f"memory://{uuid.uuid4().hex}"
    memory = fsspec.filesystem("memory")
    memory.put(local.root, root, recursive=True)
    remote = Dataset.open(root)
    with SampleReader(remote) as reader:
        assert read_all(reader) == originals(local, tmp_path / "set-images")
        memory.rm(remote.shard_path("shard-000000.tar"))
        (error,) = errors(reader.read([1, 5]))
    assert error.rows == (0, 1, 2, 3)
    assert root in error.shard


@pytest.mark.timeout(30)  # what is cut short stays so: nothing is tried again
def test_a_remote_shard_that_ends_early_is_an_error(draw_set: DrawSet) -> None:
    local = draw_set("set", 4)
    root = f"memory://{uuid.uuid4().hex}"
    memory = fsspec.filesystem("memory")
    memory.put(local.root, root, recursive=True)
    remote = Dataset.open(root)
    path = remote.shard_path("shard-000000.tar")
    memory.pipe_file(path, memory.cat_file(path)[:600])
    with SampleReader(remote) as reader:
        (error,) = errors(reader.read([3]))
    assert error.rows == (3,)
    assert "cannot be read" in error.reason
