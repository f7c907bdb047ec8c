"""Whatever stands in the place of a file, no verb waits for it: one line that names it, within seconds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from jobs.cli import run

pytestmark = pytest.mark.timeout(60)


def replace_by(kind: str, path: Path) -> None:
    """Put a fifo, a link to a device or an endless file in the place of a file."""
    path.unlink()
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "endless":
            with path.open("wb") as file:
                file.truncate(1 << 40)


VERIFY, SQL = ("verify", "{}/set", "--workers", "1"), ("sql", "select * from boxes", "--root", "{}")
SHARD = ("shard", "{}/coco.json", "--images", "{}/images", "--out", "{}/new", "--workers", "1")
EXPORT = ("export", "{}/labels", "--format", "coco", "--out", "{}/out", "--images")
ROUNDS = ("verify", "{}/labels")

CASES = [
    ("set/shard-000000.tar", VERIFY, 1),
    ("set/shard-000000.tar", (*VERIFY, "--quick"), 1),
    ("set/shard-000000.tar", EXPORT, 2),
    ("set/images.parquet", VERIFY, 1),
    ("set/images.parquet", EXPORT, 2),
    ("set/images.parquet", SQL, 2),
    ("set/dataset.json", VERIFY, 1),
    ("set/ground_truth/shard-000000.parquet", VERIFY, 1),
    ("set/ground_truth/shard-000000.parquet", ("sql", "from ground_truth", "--root", "{}"), 2),
    ("labels/round=0002/shard-000000.parquet", SQL, 2),
    ("labels/round=0002/shard-000000.parquet", EXPORT, 2),
    ("labels/round=0002/shard-000000.parquet", ROUNDS, 1),
    ("labels/round=0002/round.json", ROUNDS, 1),
    ("coco.json", SHARD, 2),
    ("coco.json", ("split", "{}/coco.json", "--out", "{}/parts", "--percent", "50"), 2),
]


@pytest.mark.parametrize("kind", ["fifo", "device", "endless"])
@pytest.mark.parametrize(("name", "command", "code"), CASES, ids=lambda value: str(value)[:40])
def test_no_verb_waits_for_what_is_no_file(
    stored: Path,
    name: str,
    command: tuple[str, ...],
    code: int,
    kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if kind == "endless" and command == EXPORT and name.endswith(".tar"):
        pytest.skip("the bytes are there; `mixpl verify` tells that they are others")
    replace_by(kind, stored / name)
    capsys.readouterr()
    assert run([word.format(stored) for word in command]) == code
    said = capsys.readouterr()
    assert Path(name).name in said.out + said.err
    assert code == 1 or len(said.err.strip().splitlines()) == 1, said.err


@pytest.mark.parametrize("kind", ["fifo", "device", "endless"])
def test_an_image_that_is_no_file_is_left_out_by_name(
    stored: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_by(kind, stored / "images" / "3.png")
    assert run([word.format(stored) for word in SHARD]) == 0
    assert "3.png: unreadable file: " in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_a_round_whose_head_is_no_file_keeps_no_other_from_answering(
    stored: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_by(kind, stored / "labels/round=0002/round.json")
    assert run(["sql", "select round, count(*) n from boxes group by 1", "--root", str(stored)]) == 0
    said = capsys.readouterr()
    assert "│ 4 │" in said.out
    assert said.err.startswith("left out: expected a round, got a")
    assert "round=0002/round.json" in said.err


@pytest.mark.parametrize("kind", ["fifo", "device"])
@pytest.mark.parametrize("name", ["config.json", "checkpoints/step-000000012.pt", "metrics.jsonl"])
def test_a_run_with_what_is_no_file_is_refused(
    trained: Path,
    drawn: Path,
    tmp_path: Path,
    name: str,
    kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = Path(shutil.copytree(trained, tmp_path / "run"))
    replace_by(kind, copy / name)
    commands: list[list[str]] = [["train", f"{copy}/config.json", f"--out={copy}", "--resume"]]
    if name != "metrics.jsonl":
        commands.append(["label", str(copy), "--data", f"{drawn}/unlabeled", "--out", f"{tmp_path}/labels"])
    for command in commands:
        capsys.readouterr()
        assert run(command) == 2
        assert Path(name).name in capsys.readouterr().err


def test_a_query_may_come_from_a_pipe(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"select 40 + 2 as answer")
    os.close(writer)
    assert run(["sql", "--sql-file", f"/dev/fd/{reader}", "--root", str(stored), "--format", "csv"]) == 0
    os.close(reader)
    assert capsys.readouterr().out.splitlines()[-1] == "42"
