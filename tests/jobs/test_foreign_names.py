"""Names and numbers in tables are not trusted: no reader leaves the folder, no stranger in a tar matters."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.cli import run
from pipeline.samples.reader import SampleReader, SampleUnreadableError
from storage.dataset.dataset import Dataset
from storage.errors import StoreError

NAMES = ("../secret", "/etc/passwd", "http://127.0.0.1:1/x", "a/../../secret", "", "x\0y")


def edit_images(root: Path, **columns: Callable[[list[object]], list[object]]) -> None:
    """Rewrite columns of the image table."""
    path = root / "set" / "images.parquet"
    table = pq.read_table(path)
    for name, edit in columns.items():
        index = table.column_names.index(name)
        values = pa.array(edit(table[name].to_pylist()), table.schema.field(name).type)
        table = table.set_column(index, table.schema.field(name), values)
    pq.write_table(table, path)


def edit_json(path: Path, **fields: object) -> None:
    """Replace fields of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def commands(root: Path) -> list[list[str]]:
    """Return the verbs that read images or labels, but for those that need a trained run."""
    return [
        ["export", f"{root}/labels", "--format", "coco", "--out", f"{root}/out", "--images"],
        ["verify", f"{root}/set", "--workers", "1"],
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_shard_that_lies_elsewhere_is_opened_by_no_reader(
    stored: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (stored / "secret").write_bytes(b"SECRET" * 10_000)
    edit_images(stored, shard=lambda shards: [name, *shards[1:]])
    with pytest.raises(StoreError, match=r"expected the shards that dataset\.json lists, got .*column shard"):
        Dataset.open(f"{stored}/set").images()
    for command, code in zip(commands(stored), (2, 1), strict=True):
        capsys.readouterr()
        assert run(command) == code
        said = capsys.readouterr()
        assert "images.parquet" in said.out + said.err
        assert "SECRET" not in said.out + said.err
    assert not any(b"SECRET" in path.read_bytes() for path in stored.glob("out/**/*.*"))


@pytest.mark.parametrize("name", NAMES)
def test_a_listed_shard_or_table_that_lies_elsewhere_is_named(
    stored: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_json(stored / "set/dataset.json", shards=[name, "shard-000001.tar"])
    with pytest.raises(StoreError, match=r"names below the folder in shards, got .*dataset\.json"):
        Dataset.open(f"{stored}/set")
    assert run(["verify", f"{stored}/set"]) == 1
    assert "dataset.json" in capsys.readouterr().out
    (stored / "labels/round=0002/tables.json").write_text(
        json.dumps({"tables": {name: ["shard-000000"]}, "schema_version": 1})
    )
    assert run(["rounds", "compact", f"{stored}/labels/round=0002"]) == 2
    assert "tables.json" in capsys.readouterr().err


@pytest.mark.parametrize("column", ["offset", "size"])
@pytest.mark.parametrize("value", [-1, -(1 << 60)])
def test_negative_ranges_are_refused_by_column(stored: Path, column: str, value: int) -> None:
    edit_images(stored, **{column: lambda values: [value, *values[1:]]})
    with pytest.raises(StoreError, match=f"0 or more in column {column}, got {value}: .*images.parquet"):
        Dataset.open(f"{stored}/set").images()


@pytest.mark.parametrize(("column", "value"), [("offset", 1 << 60), ("size", 1 << 60), ("size", 1 << 40)])
def test_ranges_past_the_file_name_the_image_and_ask_for_no_memory(
    stored: Path, column: str, value: int, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_images(stored, **{column: lambda values: [value, *values[1:]]})
    with SampleReader(Dataset.open(f"{stored}/set")) as reader:
        error, image = reader.read([0, 1])
    assert isinstance(error, SampleUnreadableError)
    assert error.rows == (0,)
    assert "the shard is truncated" in str(error)
    assert not isinstance(image, SampleUnreadableError)
    for command, code in zip(commands(stored), (2, 1), strict=True):
        assert run(command) == code
    assert "shard-000000.tar" in capsys.readouterr().err


def strangers() -> dict[str, tarfile.TarInfo]:
    """Return members that no shard has."""
    members = {
        name: tarfile.TarInfo(name) for name in ("../../evil.png", "/abs/evil.png", "000000000001.png")
    }
    for kind, name in (
        (tarfile.SYMTYPE, "link.png"),
        (tarfile.LNKTYPE, "hard.png"),
        (tarfile.CHRTYPE, "dev"),
    ):
        members[name] = tarfile.TarInfo(name)
        members[name].type, members[name].linkname = kind, "/etc/passwd"
    return members


@pytest.mark.parametrize("name", strangers())
def test_a_foreign_member_is_named_by_verify_and_seen_by_no_reader(
    stored: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = Dataset.open(f"{stored}/set")
    with SampleReader(dataset) as reader:
        before = [bytes(image) for image in reader.read([0, 1, 2, 3])]  # type: ignore[arg-type]
    member = strangers()[name]
    with tarfile.open(stored / "set/shard-000000.tar", "a:") as tar:
        member.size = 5 if member.isreg() else 0
        tar.addfile(member, io.BytesIO(b"stuff"))
    with SampleReader(dataset) as reader:
        assert [bytes(image) for image in reader.read([0, 1, 2, 3])] == before  # type: ignore[arg-type]
    capsys.readouterr()
    for depth in ([], ["--quick"]):
        assert run(["verify", f"{stored}/set", "--workers", "1", *depth]) == 1
        printed = capsys.readouterr().out
        assert "1 thing wrong" in printed
        assert name in printed or f"member {name}" in printed


def test_bytes_without_end_behind_a_tar_are_not_searched(
    stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (stored / "set/shard-000000.tar").open("r+b") as file:
        file.truncate(1 << 40)
    assert run(["verify", f"{stored}/set", "--workers", "1"]) == 1
    assert "foreign bytes" in capsys.readouterr().out
