"""A run that starts from another run: classes of the same name keep their heads, another detector is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.cli import run
from jobs.inference.trained import open_trained
from jobs.recipes.train_config import ModelConfig
from jobs.training.starting_weights import build_student
from model.errors import ModelError
from storage.errors import ConfigError

CLASSES = ("disk", "moon", "square", "triangle", "ring", "cross", "star")
"""Those of the drawn run in another order, and one more."""


def test_a_run_a_checkpoint_and_exported_files_start_the_same_detector(trained: Path, tmp_path: Path) -> None:
    teacher: Any = open_trained(str(trained), weights="teacher", device=torch.device("cpu"))
    for form in ("torch", "safetensors"):
        run(["weights", str(trained), "--format", form, "--out", f"{tmp_path}/w.{form}"])
    newest = sorted((trained / "checkpoints").glob("*.pt"))[-1]
    places = [trained, newest, tmp_path / "w.torch", tmp_path / "w.safetensors"]
    students = []
    for place in places:
        student, said = build_student(ModelConfig(name="fcos-compact", weights=str(place)), CLASSES, seed=3)
        assert "at step 12; 6 of 7 classes keep their heads (" in said
        assert said.endswith("); drawn anew: moon")
        students.append(student.state_dict())
    for name, value in students[0].items():
        assert all(torch.equal(value, other[name]) for other in students[1:])
    ours, theirs = students[0]["network.predictor.weight"], teacher.detector.network.predictor.weight
    for at, name in enumerate(CLASSES):
        if name in teacher.classes:
            assert torch.equal(ours[at], theirs[teacher.classes.index(name)])
    assert torch.equal(ours[7:], theirs[6:])  # sides and centreness


def test_a_run_of_another_detector_is_refused_with_its_name(trained: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"expected weights of fcos-resnet50, got those of fcos-compact: .*short"
    ):
        build_student(ModelConfig(name="fcos-resnet50", weights=str(trained)), CLASSES, seed=0)


def test_all_else_is_asked_of_the_library(tmp_path: Path) -> None:
    student, said = build_student(ModelConfig(name="fcos-compact", weights="none"), CLASSES, seed=0)
    assert (student.num_classes, said) == (7, "")
    with pytest.raises(ModelError, match="trains from scratch, got weights"):
        build_student(ModelConfig(name="fcos-compact", weights=str(tmp_path / "none.pth")), CLASSES, seed=0)
