"""`mixpl rounds` and thresholds of `mixpl label`, on the rounds of a short run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs import cli
from jobs.label import LabelConfig, label
from storage.database.connect import connect
from storage.errors import ConfigError


@pytest.fixture(scope="module")
def labels(drawn: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of two rounds: the teacher's, with thresholds by the prior, and the student's."""
    out = tmp_path_factory.mktemp("rounds")
    common = {"run": str(trained), "data": str(drawn / "unlabeled"), "out": str(out / "labels"), "threads": 1}
    assert label(LabelConfig(**common, threshold_policy="prior", labeled=str(drawn / "labeled"))) == 0  # type: ignore[arg-type]
    assert label(LabelConfig(**common, weights="student")) == 0  # type: ignore[arg-type]
    return out


def test_rounds_are_listed_compared_and_compacted(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    question = "SELECT round, class, count(*), sum(score) FROM boxes GROUP BY ALL ORDER BY ALL"
    before = connect(str(labels)).execute(question).fetchall()
    assert cli.run(["rounds", "list", "--root", str(labels)]) == 0
    assert "prior by class" in capsys.readouterr().out
    changes = tmp_path / "changes.parquet"
    assert cli.run(["rounds", "compare", "--root", str(labels), "-o", str(changes)]) == 0
    compared = capsys.readouterr().out
    assert "380 images that both labeled" in compared
    assert set(pq.read_table(changes)["change"].to_pylist()) <= {"stayed", "moved", "appeared", "vanished"}
    assert cli.run(["rounds", "compact", "1", "--root", str(labels)]) == 0
    assert "1 tables; 8 old ones removed" in capsys.readouterr().out
    after = connect(str(labels)).execute(question).fetchall()
    assert [row[:3] for row in after] == [row[:3] for row in before]
    assert [row[3] for row in after] == pytest.approx([row[3] for row in before])
    assert cli.run(["rounds", "compare", "1", "2", "--root", str(labels)]) == 0
    assert capsys.readouterr().out == compared.replace(" in ", " in ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare", "1"], "expected two rounds or none"),
        (["compare", "1", "9"], "expected one round with number 9"),
        (["compare", "1", "nowhere"], "a round's number or folder"),
        (["compact", "7"], "expected one round with number 7"),
    ],
)
def test_a_round_that_is_not_there_is_one_line(
    labels: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert cli.run(["rounds", *arguments, "--root", str(labels)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert words in said


def test_a_damaged_table_is_named_by_the_comparison(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(labels, tmp_path / "copy")
    damaged = sorted((tmp_path / "copy").glob("labels/round=0002/shard-*.parquet"))[-1]
    damaged.write_bytes(damaged.read_bytes()[:3000])
    assert cli.run(["rounds", "compare", "1", "2", "--root", str(tmp_path / "copy")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("mixpl rounds: expected the bytes with which the round was finished, got others")
    assert str(damaged) in said


def test_a_complete_round_keeps_its_thresholds(
    labels: Path, drawn: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = LabelConfig(
        run=str(trained),
        data=str(drawn / "unlabeled"),
        out=str(labels / "labels"),
        threshold_policy="mixture",
    )
    with pytest.raises(ConfigError, match="a complete round is never changed"):
        label(config)
