"""Where nothing more can be written, every verb says so in one line, of the path that the user knows.

A file may have so many bytes and no more (RLIMIT_FSIZE), which needs no disk of its own: the system answers EFBIG
where a full disk answers ENOSPC, at the same place. `/dev/full` answers ENOSPC.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from jobs.cli import main
main(sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("limit", "command", "named"),
    [
        (20_000, ("catalog", "{}/c.duckdb", "--root", "{}"), "c.duckdb"),
        (500, ("shard", "{}/coco.json", "--images", "{}/images", "--out", "{}/n", "--workers", "1"), "n/shard-"),
        (500, ("split", "{}/coco.json", "--percent", "50", "--out", "{}/parts"), "parts/labeled.json"),
        (500, ("rounds", "compact", "{}/labels/round=0002"), "part-000000.parquet"),
        (100, ("export", "{}/labels", "--format", "coco", "--out", "{}/out"), "{}/out"),
        (100, ("sql", "select range from range(999)", "-o", "{}/a.csv", "--root", "{}"), "{}/a.csv"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_a_file_that_cannot_grow_is_named_in_one_line(
    stored: Path, limit: int, command: tuple[str, ...], named: str
) -> None:
    before = {*stored.rglob("*")}
    words = [word.format(stored) for word in command]
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), *words], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert "File too large" in line
    assert named.format(stored) in line
    assert ".tmp" not in line
    left = {*stored.rglob("*")} - before
    assert not [path for path in left if path.name.endswith((".tmp", ".csv", ".duckdb"))]


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
