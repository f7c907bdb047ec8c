"""`mixpl weights`: a run's detector as a file that says what it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from jobs.cli import run
from jobs.inference.open_model import open_model
from jobs.inference.trained import open_trained
from jobs.run import checkpoint
from model.weights.state_file import read_state_file
from storage.errors import StoreError

CPU = torch.device("cpu")


@pytest.mark.parametrize("form", ["torch", "safetensors"])
def test_a_file_holds_the_teacher_with_classes_normalisation_and_origin(
    form: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    assert run(["weights", str(trained), "--format", form, "--out", str(out)]) == 0
    assert (
        f"{out}: fcos-compact, 6 classes, the teacher of short at step 12, {form}" in capsys.readouterr().out
    )
    opened = open_model(str(out), weights="teacher", device=CPU)
    teacher = open_trained(str(trained), weights="teacher", device=CPU)
    mine, theirs = (model.state_dict() for model in (opened.predictor, teacher.detector))  # type: ignore[attr-defined]
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    card = opened.card
    assert card.classes == teacher.classes
    assert (card.view["mean"], card.view["test_short"]) == ([123.675, 116.28, 103.53], 64)
    assert card.view_settings.test_long_max == teacher.config.view.test_long_max
    assert card.score_threshold == 0.051
    assert card.provenance["weights_hash"] == teacher.weights_hash
    assert (card.provenance["run"], card.provenance["step"]) == ("short", 12)


def test_safetensors_tell_everybody_what_they_are(trained: Path, tmp_path: Path) -> None:
    run(["weights", str(trained), "--format", "safetensors", "--out", f"{tmp_path}/w.safetensors"])
    with safe_open(tmp_path / "w.safetensors", framework="pt") as opened:
        metadata = opened.metadata()
    assert metadata["format"] == "pt"
    assert json.loads(metadata["mixpl"])["model"]["name"] == "fcos-compact"


def test_the_students_weights_are_written_when_asked_for(trained: Path, tmp_path: Path) -> None:
    newest = checkpoint.latest(trained / "checkpoints")
    assert newest is not None
    run(["weights", str(newest), "--format", "torch", "--student", "--out", f"{tmp_path}/w.pth"])
    state = checkpoint.load(newest)
    with (tmp_path / "w.pth").open("rb") as file:
        written = read_state_file(file, tmp_path / "w.pth").state
    assert all(
        torch.equal(written[name.removeprefix("network.")], value) for name, value in state["student"].items()
    )
    assert any(not torch.equal(state["student"][name], value) for name, value in state["teacher"].items())


def test_nothing_is_replaced_and_nothing_is_left_of_a_failure(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w.pth").write_text("mine")
    assert run(["weights", str(trained), "--format", "torch", "--out", f"{tmp_path}/w.pth"]) == 2
    assert "expected a name that is not there yet" in capsys.readouterr().err
    assert run(["weights", f"{tmp_path}/none", "--format", "torch", "--out", f"{tmp_path}/v.pth"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


def test_a_file_that_is_no_model_of_ours_is_refused_with_what_to_do(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    with pytest.raises(StoreError, match=r"another program.*other\.pth; .*--model\.weights"):
        open_model(f"{tmp_path}/other.pth", weights="teacher", device=CPU)
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(StoreError, match=r"cannot be read as any of them .*text\.pth"):
        open_model(f"{tmp_path}/text.pth", weights="teacher", device=CPU)
