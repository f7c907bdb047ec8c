from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jobs.eval import EvalConfig, evaluate
from storage.database.connect import connect
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError, StoreError


def test_figures_are_printed_and_answer_sql(
    drawn: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = evaluate(EvalConfig(run=str(trained), data=str(drawn / "test"), weights="student"))
    printed = capsys.readouterr().out
    assert "AP50_tiny" in printed
    assert "AP_tail" in printed
    assert f"the tail is the rarest third of the classes: {', '.join(result.tail)}" in printed
    assert all(name in printed for name in result.classes)
    found = connect(str(drawn)).sql(
        "select value from evaluations where run = 'short' and weights = 'student' and metric = 'AP50' "
        "and class is null"
    )
    assert found.fetchall() == [(pytest.approx(result.figures["AP50"]),)]


def test_an_unreadable_image_counts_as_one_without_detections(
    drawn: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(drawn / "test", damaged)
    first = Dataset.open(str(damaged)).images().to_pylist()[0]
    with (damaged / first["shard"]).open("r+b") as tar:
        tar.seek(first["offset"])
        tar.write(b"\0" * first["size"])
    result = evaluate(EvalConfig(run=str(trained), data=str(damaged)))
    assert result.num_truth_C.sum() == 721
    assert first["key"] in capsys.readouterr().out


def test_an_unlabeled_set_cannot_be_scored(drawn: Path, trained: Path) -> None:
    with pytest.raises(StoreError, match="expected a labeled data set"):
        evaluate(EvalConfig(run=str(trained), data=str(drawn / "unlabeled")))


def test_a_set_of_which_no_image_can_be_read_has_no_score(drawn: Path, trained: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    shutil.copytree(drawn / "test", gone)
    for shard in gone.glob("*.tar"):
        shard.unlink()
    with pytest.raises(ConfigError, match="got 150 of which none can be read, the first is 0000"):
        evaluate(EvalConfig(run=str(trained), data=str(gone)))
    assert not list(trained.glob("evaluations/gone-*"))


def test_of_many_unreadable_images_the_first_are_named(
    drawn: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = tmp_path / "part"
    shutil.copytree(drawn / "test", part)
    (part / "shard-000001.tar").unlink()
    evaluate(EvalConfig(run=str(trained), data=str(part)))
    said = capsys.readouterr().out
    assert "50 images cannot be read and count as images without detections" in said
    assert "and 40 more" in said
