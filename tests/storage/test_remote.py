"""Requests to an object store: a failure that passes, one that stays, and answers that are final."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from storage import files, remote
from storage.errors import InputError, StoreError


class Shaky(MemoryFileSystem):  # type: ignore[misc]
    """A file system in memory, behind shaky://, that fails as often as it is told."""

    protocol = "shaky"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    failures = 0
    asked: ClassVar[Counter[str]] = Counter()

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **named: Any) -> bytes:
        self._fail("read")
        return bytes(super().cat_file(path, start=start, end=end, **named))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **named: Any) -> None:
        self._fail("write")
        super().pipe_file(path, value, mode=mode, **named)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("shaky://", "memory://")))

    def _fail(self, what: str) -> None:
        type(self).asked[what] += 1
        if Shaky.failures:
            Shaky.failures -= 1
            raise ConnectionResetError("the line went dead")


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    fsspec.register_implementation("shaky", Shaky, clobber=True)
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.001)
    Shaky.failures = 0
    Shaky.asked.clear()
    yield f"shaky://{uuid.uuid4().hex}"
    Shaky.store.clear()


def test_a_read_and_a_write_that_fail_for_a_moment_are_tried_again(root: str) -> None:
    Shaky.failures = 3
    files.write_atomic(f"{root}/file", b"0123456789")
    Shaky.failures = 3
    assert files.read_range(f"{root}/file", 3, 4) == b"3456"
    assert Shaky.asked == {"write": 4, "read": 4}


def test_a_failure_that_stays_is_one_error_that_names_the_file_and_leaves_none(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "DEADLINE", 0.5)
    Shaky.failures = 1000
    with pytest.raises(
        OSError,
        match=r"ConnectionResetError: the line went dead \(tried \d+ times in \d+ s\); check .*: '.*/file'",
    ) as caught:
        files.write_atomic(f"{root}/file", b"new")
    assert caught.value.filename == f"{root}/file"
    assert Shaky.asked["write"] >= 2
    Shaky.failures = 0
    assert not files.exists(f"{root}/file")


def test_an_answer_is_final_at_once(root: str) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        files.read_bytes(f"{root}/nothing")
    assert str(caught.value) == f"[Errno 2] No such file or directory: '{root}/nothing'"
    files.write_atomic(f"{root}/short", b"0123")
    with pytest.raises(OSError, match="expected 4 bytes at offset 2, got 2"):
        files.read_range(f"{root}/short", 2, 4)
    assert Shaky.asked["read"] == 2


def test_a_backend_that_is_not_installed_is_named() -> None:
    message = "Please install no_such_package"
    fsspec.register_implementation("nowhere", "no_such_package.Files", errtxt=message, clobber=True)
    with pytest.raises(
        InputError, match=r"Please install no_such_package\): nowhere://a/b; for s3:// install"
    ):
        files.read_bytes("nowhere://a/b")
    with pytest.raises(StoreError, match=r"Protocol not known: nothing\): nothing://a/b; for s3:// install"):
        files.read_bytes("nothing://a/b")
