"""`mixpl verify` as a user runs it: exit codes, what is printed, what machines read, and Ctrl-C."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.cli import run
from storage.dataset.dataset import Dataset
from tests.faulty_store import faulty_store


@pytest.fixture
def damaged(drawn: Path, tmp_path: Path) -> Path:
    """The unlabeled set with 5 images overwritten in shard 1 and without shard 3."""
    root = Path(shutil.copytree(drawn / "unlabeled", tmp_path / "damaged"))
    rows = [row for row in Dataset.open(str(root)).images().to_pylist() if row["shard"] == "shard-000001.tar"]
    with (root / "shard-000001.tar").open("r+b") as tar:
        for row in rows[:5]:
            tar.seek(row["offset"] + 100)
            tar.write(b"[not what it was]")
    (root / "shard-000003.tar").unlink()
    return root


def test_sets_that_are_well_take_a_line_each_and_exit_with_0(
    drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", str(drawn / "labeled"), str(drawn / "unlabeled"), "--workers", "1"]) == 0
    labeled, unlabeled = capsys.readouterr().out.splitlines()
    assert f"{drawn}/labeled: 20 images in 1 shards: all well (bytes, images and tables, 98 boxes" in labeled
    assert "380 images in 8 shards: all well" in unlabeled
    assert run(["verify", str(drawn / "labeled"), "--quick"]) == 0
    assert "all well (headers and tables, " in capsys.readouterr().out


def test_damage_is_grouped_counted_and_named_with_what_to_do_and_exits_with_1(
    drawn: Path, damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "found.json"
    command = ["verify", str(drawn / "labeled"), str(damaged), "--named", "2", "--workers", "1"]
    assert run([*command, "--json", str(written)]) == 1
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "labeled: 20 images in 1 shards: all well" in printed
    assert "damaged: 380 images in 8 shards: 6 things wrong (" in printed
    assert "changed bytes" in printed
    assert "and 3 more" in printed
    assert "shard-000003.tar: expected a tar of 50 images, got no such file" in printed
    assert "What to do: copy the file again" in printed
    well, wrong = json.loads(written.read_text())["checked"]
    assert (well["root"], well["findings"], well["images"]) == (f"{drawn}/labeled", {}, 20)
    assert {kind: one["count"] for kind, one in wrong["findings"].items()} == {
        "changed bytes": 5,
        "missing shard": 1,
    }
    assert len(wrong["findings"]["changed bytes"]["findings"]) == 5
    assert wrong["shards"] == 8


def test_a_folder_of_rounds_is_checked_for_its_tables(
    drawn: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels"
    assert run(["label", str(trained), "--data", str(drawn / "unlabeled"), "--out", str(labels)]) == 0
    assert run(["verify", str(labels)]) == 0
    assert "labels: 380 images in 8 label tables: all well" in capsys.readouterr().out
    (labels / "round=0001" / "shard-000004.parquet").unlink()
    assert run(["verify", str(labels), "--quick"]) == 1
    assert "shard-000004.parquet" in capsys.readouterr().out


def test_what_is_no_data_set_and_numbers_out_of_range_exit_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", str(tmp_path)]) == 2
    assert "got a folder without it" in capsys.readouterr().err
    for wrong in ([], [str(tmp_path), "--workers", "-1"], [str(tmp_path), "--named", "0"]):
        try:
            code: object = run(["verify", *wrong])
        except SystemExit as left:  # the parser of the command line saw it first
            code = left.code
        assert code == 2
        assert re.search(r"expected|must be at least [01], got", capsys.readouterr().err)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_ends_after_the_shard_at_hand_with_what_was_found(
    damaged: Path, tmp_path: Path, workers: str
) -> None:
    with faulty_store(tmp_path) as store:
        store.fail("shard-000004.tar", "held", times=1)
        command = [sys.executable, "-m", "jobs.cli", "verify", f"{store.url}/damaged", "--workers", workers]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not store.asked["shard-000004.tar"]:
            assert time.monotonic() < deadline, "the check never came to the fifth shard"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        store.released.set()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "things wrong so far; stopped" in out
    assert "changed bytes" in out
    assert "Traceback" not in err
