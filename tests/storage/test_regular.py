"""Opening local files: regular ones only, whatever else stands in their place, and never a wait."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import files, regular

pytestmark = pytest.mark.timeout(20)


def put(kind: str, path: Path) -> Path:
    """Put something that is no regular file at a path."""
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
        case "endless file":
            with path.open("wb") as file:
                file.truncate(1 << 40)
    return path


READERS: dict[str, Callable[[str], object]] = {
    "read_bytes": files.read_bytes,
    "read_range": lambda location: files.read_range(location, 0, 10),
    "require_regular": lambda location: regular.require_regular(Path(location)),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "socket"])
def test_what_is_no_regular_file_is_refused_at_once_and_by_name(
    tmp_path: Path, kind: str, reader: str
) -> None:
    path = put(kind, tmp_path / "x")
    with pytest.raises(OSError, match=r"x'$"):
        READERS[reader](str(path))


def test_a_file_too_large_to_be_read_whole_is_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    path = put("endless file", tmp_path / "x")
    with pytest.raises(regular.NotRegularError, match="1,099,511,627,776 bytes where at most"):
        files.read_bytes(str(path))
    assert files.read_range(str(path), 1 << 39, 3) == bytes(3)


def test_a_length_that_no_file_has_asks_for_no_memory(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"0123456789")
    with pytest.raises(OSError, match=f"expected {1 << 60} bytes at offset 4, got 6"):
        files.read_range(f"{tmp_path}/x", 4, 1 << 60)
    with pytest.raises(OSError, match="Invalid argument"):
        files.read_range(f"{tmp_path}/x", -4, 3)


def test_a_regular_file_is_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"bytes")
    (tmp_path / "x").symlink_to("there")
    assert files.read_bytes(f"{tmp_path}/x") == b"bytes"


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    put("fifo", tmp_path / "fifo")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(regular.NotRegularError):
            files.read_bytes(f"{tmp_path}/fifo")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_nothing_but_a_file_is_replaced_by_a_file(tmp_path: Path, kind: str) -> None:
    path = put(kind, tmp_path / "x")
    with pytest.raises(files.StoreError, match="expected the name of a file to write, got"):
        files.write_atomic(str(path), b"")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]
