"""Where nothing more can be written, every verb says so in one line, of the path that the user knows.

A file may have so many bytes and no more (RLIMIT_FSIZE), which needs no disk of its own: the system answers EFBIG
where a full disk answers ENOSPC, at the same place. `/dev/full` answers ENOSPC.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from jobs.cli import main
if __name__ == "__main__":
    main(sys.argv[2:])
"""


def run_limited(limit: int, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), *words],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "command", "named"),
    [
        (20_000, ("catalog", "{}/c.duckdb", "--root", "{}"), "c.duckdb"),
        (500, ("shard", "{}/coco.json", "--images", "{}/images", "--out", "{}/n", "--workers", "1"), "n/shard-"),
        (500, ("split", "{}/coco.json", "--percent", "50", "--out", "{}/parts"), "parts/labeled.json"),
        (500, ("rounds", "compact", "{}/labels/round=0002"), "part-000000.parquet"),
        (100, ("export", "{}/labels", "--format", "coco", "--out", "{}/out"), "{}/out"),
        (60, ("export", "{}/labels", "--format", "yolo", "--images", "--out", "{}/out"), "{}/out"),
        (300, ("synth", "{}/drawn", "--preset", "tiny", "--workers", "1"), "{}/drawn/images/train/000000.jpg"),
        (100, ("sql", "select range from range(999)", "-o", "{}/a.csv", "--root", "{}"), "{}/a.csv"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_a_file_that_cannot_grow_is_named_in_one_line(
    stored: Path, limit: int, command: tuple[str, ...], named: str
) -> None:
    before = {*stored.rglob("*")}
    words = [word.format(stored) for word in command]
    ended = run_limited(limit, *words)
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert "File too large" in line
    assert named.format(stored) in line
    assert ".tmp" not in line
    left = {*stored.rglob("*")} - before
    assert not [path for path in left if path.name.endswith((".tmp", ".csv", ".duckdb"))]
    assert not (stored / "out").exists()


@pytest.mark.parametrize("words", [(), ("--help",), ("sql", "--help"), ("train", "--help")], ids=str)
def test_help_that_finds_no_room_is_one_line(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "jobs.cli", *words],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.endswith(
        "no space left to write it; make room, then run the same command again: 'standard output'"
    )


def test_labels_that_find_no_room_leave_no_table(drawn: Path, trained: Path, tmp_path: Path) -> None:
    words = ["label", str(trained), "--data", f"{drawn}/unlabeled", "--out", str(tmp_path)]
    ended = run_limited(2000, *words)
    assert ended.returncode == 2
    table = tmp_path / "round=0001" / "shard-000000.parquet"
    assert ended.stderr.splitlines()[-1] == f"mixpl label: [Errno 27] File too large: '{table}'"
    assert [path.name for path in table.parent.iterdir()] == ["begun.json"]


@pytest.mark.parametrize(("limit", "named"), [(500, "temporary"), (99_000, "picture.png")])
def test_a_preview_names_its_picture_or_the_folder_for_temporary_files(
    drawn: Path, tmp_path: Path, limit: int, named: str
) -> None:
    (tmp_path / "temporary").mkdir()
    words = ["preview", "tiny", "--arm", "supervised", "--data.labeled", f"{drawn}/labeled"]
    words += ["--out", f"{tmp_path}/picture.png"]
    ended = run_limited(limit, *words, TMPDIR=f"{tmp_path}/temporary")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == f"mixpl preview: [Errno 27] File too large: '{tmp_path / named}'"
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]


def test_a_query_whose_spill_finds_no_room_names_the_folder_that_was_given(tmp_path: Path) -> None:
    query = "select i, hash(i) from range(3_000_000) t(i) order by 2"
    spill = ["--memory-limit", "30MB", "--spill", f"{tmp_path}/spill"]
    ended = run_limited(100_000, "sql", query, "--root", str(tmp_path), *spill, "-o", f"{tmp_path}/a.csv")
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert f"expected room for work beyond memory in {tmp_path}/spill, got no more (File too large)" in line
    assert [*tmp_path.rglob("*")] == [tmp_path / "spill"]


@pytest.mark.parametrize("form", ["table", "csv"])
def test_a_full_disk_behind_standard_output_is_one_line(stored: Path, form: str) -> None:
    query = ["sql", "select range from range(9999)", "--root", str(stored), "--format", form]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "jobs.cli", *query],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "no space left to write it" in line
    assert line.endswith("'standard output'")
