"""`mixpl profile` on the tiny set: a table, advice and a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from jobs.cli import run
from jobs.profile import LEVELS, _curve


def test_a_profile_with_the_model_prints_parts_waiting_and_advice_and_writes_them(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    data = ["--data.labeled", str(drawn / "labeled"), "--data.unlabeled", str(drawn / "unlabeled")]
    arguments = ["tiny", *data, "--device", "cpu", "--steps", "6", "--model", "--kernels", "--json", str(out)]
    assert run(["profile", *arguments]) == 0
    printed = capsys.readouterr().out
    for part in ("read", "decode", "weak view", "strong view", "labeled view", "mixup", "mosaic", "boxes"):
        assert part in printed
    assert "the model waits" in printed
    assert "saturation" in printed
    figures = json.loads(out.read_text())
    assert figures["images_a_batch"] == 8
    assert len(figures["trained"]["depths"]) == 6
    assert figures["advice"][0] in printed
    assert figures["parts_ms"]["decode"] > 0
    assert not (tmp_path / "runs").exists()


def test_the_supervised_arm_is_profiled_without_unlabeled_images(
    drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["tiny", "--arm", "supervised", "--data.labeled", str(drawn / "labeled"), "--steps", "3"]
    assert run(["profile", *arguments, "--device", "cpu", "--kernels"]) == 0
    printed = capsys.readouterr().out
    assert "one batch of 4 images" in printed
    assert "mosaic" not in printed


def test_the_depth_of_the_queue_is_a_line_from_empty_to_full() -> None:
    assert _curve((0, 1, 2), 2) == LEVELS[0] + LEVELS[4] + LEVELS[-1]
    assert len(_curve(tuple(range(2)) * 50, 2)) == 20


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_profile_on_cuda_shows_the_memory_of_the_gpu(
    drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data.labeled", str(drawn / "labeled"), "--data.unlabeled", str(drawn / "unlabeled")]
    assert run(["profile", "tiny", *data, "--device", "cuda", "--steps", "6", "--model", "--kernels"]) == 0
    printed = capsys.readouterr().out
    assert "on cuda" in printed
    assert "GPU memory in use, MiB" in printed
