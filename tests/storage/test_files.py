"""The door to the file system: atomic writes, exact reads, the same on disk and on an object store."""

from __future__ import annotations

import errno
import pickle
import uuid
from pathlib import Path

import pytest

from storage import claims, files
from storage.errors import InputError, names_location
from storage.temporaries import temporary_folder
from tests.together import TRIALS, together


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "root") if request.param == "local" else f"memory://{uuid.uuid4().hex}"


def test_what_is_written_is_read_back_whole_and_in_ranges(root: str) -> None:
    location = files.join(root, "deep", "file.bin")
    assert not files.exists(location)
    files.write_atomic(location, b"0123456789")
    assert files.exists(location)
    assert files.size(location) == 10
    assert files.read_bytes(location) == b"0123456789"
    assert files.read_range(location, 3, 4) == b"3456"


def test_a_range_past_the_end_is_an_error_that_names_the_file(root: str) -> None:
    location = files.join(root, "short.tar")
    files.write_atomic(location, b"0123456789")
    with pytest.raises(OSError, match=r"expected 5 bytes at offset 8, got 2: .*short\.tar'$"):
        files.read_range(location, 8, 5)


def test_listings_are_sorted_and_show_no_hidden_files(root: str) -> None:
    for name in ("b.tar", "a.tar", "c.json", ".a.tar.1-2.tmp", "sub/d.tar", ".hidden/e.tar"):
        files.write_atomic(files.join(root, name), b"")
    assert files.list_files(root, ".tar") == [files.join(root, "a.tar"), files.join(root, "b.tar")]
    assert files.list_folders(root) == ["sub"]
    assert files.walk_files(root) == ["a.tar", "b.tar", "c.json", "sub/d.tar"]


def test_a_folder_that_is_not_there_lists_as_empty(root: str) -> None:
    missing = files.join(root, "missing")
    assert files.list_files(missing, "") == []
    assert files.list_folders(missing) == []
    files.remove_folder(missing)


def test_a_removed_folder_is_gone_with_all_in_it(root: str) -> None:
    files.write_atomic(files.join(root, "keep"), b"")
    files.write_atomic(files.join(root, "sub", "deep", "file"), b"")
    files.remove_folder(files.join(root, "sub"))
    assert files.walk_files(root) == ["keep"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    location = str(tmp_path / "file")
    files.write_atomic(location, b"old")

    def fail_half_way() -> None:
        with files.local_atomic(location) as temporary:
            temporary.write_bytes(b"half of the n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert files.read_bytes(location) == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".shard.tar.77-abc.tmp", "shard.tar", ".keep"):
        (tmp_path / name).write_bytes(b"")
    files.remove_leftovers(str(tmp_path))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".keep", "shard.tar"]


def clean_or_write(rank: int, trial: int, folder: Path) -> bool:
    """Rank 0 removes leftovers again and again while the others write."""
    for number in range(50):
        if rank == 0:
            files.remove_leftovers(str(folder))
            continue
        with temporary_folder(folder / "made") as temporary:
            (temporary / "content").write_bytes(b"x")
            assert [path.name for path in temporary.iterdir()] == ["content"]
        files.write_atomic(str(folder / f"{rank}-{trial}-{number}"), b"x")
    return True


@pytest.mark.parametrize("trials", TRIALS)
def test_whoever_removes_leftovers_leaves_those_alone_who_begin_to_write(tmp_path: Path, trials: int) -> None:
    answers = together(clean_or_write, tmp_path, trials=trials, processes=3)
    assert answers == [(True, True, True)] * trials
    assert len(files.walk_files(str(tmp_path))) == 2 * 50 * trials


def test_a_walk_through_a_link_to_its_own_parent_ends(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "image.jpg").write_bytes(b"")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    assert files.walk_files(str(tmp_path)) == ["sub/image.jpg"]


def test_names_are_joined_below_the_root() -> None:
    assert files.join("a/", "b", "c") == "a/b/c"
    assert files.join("s3://bucket", "b") == "s3://bucket/b"
    assert files.join(".", "b") == "b"
    assert files.join("/", "b") == "/b"
    assert files.is_local("file:///a")
    assert not files.is_local("s3://bucket/a")


def test_a_file_is_created_once_and_never_replaced(root: str) -> None:
    location = files.join(root, "folder", "claim")
    assert claims.write_if_absent(location, b"first")
    assert not claims.write_if_absent(location, b"second")
    assert files.read_bytes(location) == b"first"
    assert len(files.walk_files(root)) == 1


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    for location in (tmp_path / "file" / "new", tmp_path / "file" / "folder" / "new"):
        with pytest.raises(InputError, match=r"got a file in its place: .*name another folder"):
            files.write_atomic(str(location), b"new")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"got a folder: .*folder; name another file"):
        files.write_atomic(str(tmp_path / "folder"), b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_full_disk_is_named_with_what_to_do(tmp_path: Path) -> None:
    location = str(tmp_path / "table.parquet")
    with pytest.raises(OSError, match="no space left to write it") as caught, files.local_atomic(location):
        Path("/dev/full").write_bytes(b"one byte too many")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, location)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError("bucket/key"), "[Errno 2] No such file or directory: 's3://bucket/key'"),
        (PermissionError("Access\nDenied"), "[Errno 13] Access Denied: 's3://bucket/key'"),
        (OSError("bad page"), "[Errno 5] bad page: 's3://bucket/key'"),
        (OSError(errno.EIO, "no medium", "other"), "[Errno 5] no medium: 'other'"),
    ],
)
def test_an_error_keeps_its_kind_and_says_where(error: OSError, message: str) -> None:
    with pytest.raises(type(error)) as caught, names_location("s3://bucket/key"):
        raise error
    assert str(caught.value) == message
    assert str(pickle.loads(pickle.dumps(caught.value))) == message
