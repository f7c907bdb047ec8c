"""What a user can get wrong in the model is answered in one line with exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.cli import run
from jobs.recipes.model_errors import answer_model_errors
from model.errors import ModelError, WeightsError
from storage.errors import ConfigError, SourceError


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the line that answers a command line which cannot be run."""
    assert run(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("mixpl train: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pseudo.score-threshold", "3"), "expected score_threshold in 0 .. 1, got 3.0"),
        (("--pseudo.least-num", "-1"), "least_num"),
        (("--pseudo.unsup-weight", "-2"), "unsup_weight"),
    ],
)
def test_a_wrong_setting_of_the_method(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in answer(capsys, "train", "tiny", *arguments)


def test_a_wrong_setting_of_the_method_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"pseudo": {"score_threshold": 2}}')
    said = answer(capsys, "train", str(path))
    assert f"{path}: expected score_threshold in 0 .. 1, got 2" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tiny", "--optim.lr", "-1"), "expected lr > 0"),
        (("tiny", "--optim.warmup-steps", "-1"), "expected warmup_steps >= 0"),
        (("tiny", "--teacher.interval", "0"), "interval >= 1"),
        (("tiny", "--model.weights", "coco"), "pass --model.weights none"),
        (("coco-partial", "--model.weights", "none.pth"), "got 'none.pth': no such file"),
    ],
)
def test_what_only_the_trainer_can_see(
    arguments: tuple[str, ...],
    message: str,
    drawn: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = ("--data.labeled", str(drawn / "labeled"), "--data.unlabeled", str(drawn / "unlabeled"))
    run_ = ("--out", str(tmp_path / "run"), "--device", "cpu")
    assert message in answer(capsys, "train", *arguments, *data, *run_)


def test_weights_are_a_source_and_all_else_is_configuration() -> None:
    with pytest.raises(SourceError, match="no such file"), answer_model_errors():
        raise WeightsError("no such file")
    with pytest.raises(ConfigError, match="lr > 0"), answer_model_errors():
        raise ModelError("lr > 0")
    with pytest.raises(ValueError, match="ours"), answer_model_errors():
        raise ValueError("ours")
