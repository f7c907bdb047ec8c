"""Reads from a store of this machine that answers short, breaks, refuses and waits."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import files, remote, wait_notices
from tests.faulty_store import Fault, FaultyStore, faulty_store

BYTES = bytes(range(256)) * 40


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.01)
    (tmp_path / "file").write_bytes(BYTES)
    with faulty_store(tmp_path) as store:
        yield store


@pytest.mark.parametrize("fault", ["short", "cut", "reset", "500", "503"])
def test_a_failure_that_passes_costs_a_range_and_a_file_nothing(store: FaultyStore, fault: Fault) -> None:
    location = f"{store.url}/file"
    store.fail("file", fault, times=2)
    assert files.read_range(location, 1000, 500) == BYTES[1000:1500]
    assert store.asked["file"] == 3
    store.fail("file", fault, times=2)
    assert files.read_bytes(location) == BYTES


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("short", "expected 500 bytes at offset 1000, got 250"),
        ("cut", "ClientPayloadError"),
        ("reset", "ServerDisconnectedError"),
        ("500", "500, message='Internal Server Error'"),
        ("503", "503, message='Service Unavailable'"),
    ],
)
def test_a_failure_that_stays_is_an_error_with_url_range_reason_and_tries(
    store: FaultyStore, fault: Fault, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "DEADLINE", 0.5)
    location = f"{store.url}/file"
    store.fail("file", fault)
    with pytest.raises(OSError, match=r"\(tried \d+ times in \d+ s\); check the network") as caught:
        files.read_range(location, 1000, 500)
    assert "reading bytes 1000 to 1500" in str(caught.value)
    assert reason in str(caught.value)
    assert caught.value.filename == location
    assert store.asked["file"] >= 2
    asked = store.asked["file"]
    with pytest.raises(OSError, match=r"tried 1 times in"):  # what failed to the end is asked once
        files.read_range(location, 0, 5)
    assert store.asked["file"] <= asked + 2  # aiohttp asks again itself where a kept line broke
    store.repair()
    assert files.read_range(location, 1000, 500) == BYTES[1000:1500]
    store.fail("file", fault, times=2)
    assert files.read_range(location, 0, 5) == BYTES[:5]  # it had answered: it is asked again and again


@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [("404", FileNotFoundError, "No such file"), ("403", PermissionError, r"403.*check the rights on it")],
)
def test_an_answer_is_final_at_once(
    store: FaultyStore, fault: Fault, kind: type[OSError], reason: str
) -> None:
    store.fail("file", fault)
    for read in (
        lambda: files.read_range(f"{store.url}/file", 0, 5),
        lambda: files.read_bytes(f"{store.url}/file"),
    ):
        with pytest.raises(kind, match=reason) as caught:
            read()
        assert caught.value.filename == f"{store.url}/file"
    assert store.asked["file"] == 2


def test_a_file_that_ends_before_is_told_so_at_once(store: FaultyStore) -> None:
    with pytest.raises(OSError, match=rf"got 10: truncated at byte {len(BYTES)}"):
        files.read_range(f"{store.url}/file", len(BYTES) - 10, 20)
    assert store.asked["file"] == 1


def test_a_failing_store_is_not_taken_for_one_without_the_file(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "DEADLINE", 0.3)
    assert files.exists(f"{store.url}/file")
    assert not files.exists(f"{store.url}/nothing")
    with pytest.raises(OSError, match=r"expected info to work"):
        files.exists("http://127.0.0.1:9/file")  # nobody listens there


def test_who_waits_is_told_on_what_and_how_long(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, seconds in (("SAY_AFTER", 0.3), ("SAY_EVERY", 0.4), ("LOOK_EVERY", 0.1)):
        monkeypatch.setattr(wait_notices, name, seconds)
    monkeypatch.setattr(remote, "DEADLINE", 1.6)
    store.fail("file", "500")
    began = time.monotonic()
    with caplog.at_level(logging.WARNING), pytest.raises(OSError, match="tried"):
        files.read_range(f"{store.url}/file", 1000, 500)
    assert time.monotonic() - began < 10
    lines = [record.message for record in caplog.records if record.name == wait_notices.__name__]
    assert 1 <= len(lines) <= 4
    for line in lines:
        assert f"waiting for {store.url}/file, reading bytes 1000 to 1500" in line
        assert "tries failed, the last with ClientResponseError: 500" in line
        assert line.endswith("given up after 2 s")


def test_a_slow_answer_is_waited_for_and_said(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, seconds in (("SAY_AFTER", 0.3), ("LOOK_EVERY", 0.1)):
        monkeypatch.setattr(wait_notices, name, seconds)
    monkeypatch.setattr(wait_notices, "WAITS", wait_notices.WaitNotices())
    monkeypatch.setattr(remote, "WAITS", wait_notices.WAITS)
    store.fail("file", "slow", times=1)
    with caplog.at_level(logging.WARNING):
        assert files.read_range(f"{store.url}/file", 0, 5) == BYTES[:5]
    assert any(": no answer yet; given up" in record.message for record in caplog.records)
