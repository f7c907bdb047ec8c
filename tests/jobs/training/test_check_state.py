from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs import cli
from jobs.recipes.train_config import TrainConfig
from jobs.run import checkpoint
from jobs.run.ranks import Ranks
from jobs.training.build_trainer import build_trainer
from jobs.training.check_state import require_state
from jobs.training.run_data import open_data
from jobs.training.train_step import Trainer
from storage.dataset.dataset import Dataset
from storage.errors import StoreError

State = dict[str, Any]


@pytest.fixture(scope="module")
def resumable(
    drawn: Path, trained: Path, short_run: Callable[[Path, Path], TrainConfig]
) -> tuple[State, Trainer, dict[str, Dataset]]:
    config = short_run(drawn, trained)
    data = open_data(config)
    newest = checkpoint.latest(trained / "checkpoints")
    assert newest is not None
    return checkpoint.load(newest), build_trainer(config, data["labeled"], torch.device("cpu"), Ranks()), data


def put(value: object, *keys: Any) -> Callable[[State], None]:
    def change(state: State) -> None:
        place: Any = state
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


def drop(*keys: Any) -> Callable[[State], None]:
    def change(state: State) -> None:
        place: Any = state
        for key in keys[:-1]:
            place = place[key]
        del place[keys[-1]]

    return change


MOMENTS, GROUP = ("optimizer", "state", 0), ("optimizer", "param_groups", 0)
LOADER, CACHE = ("ranks", 0, "loader"), ("ranks", 0, "cache")
WEIGHT = "network.backbone.stem.0.weight"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (drop("optimizer"), "optimizer"),
        (drop("optimizer", "state"), r"state. - at .\$.optimizer"),
        (put([], "optimizer", "state"), r"got .array. - at .\$.optimizer.state"),
        (put([], "optimizer", "param_groups"), r"optimizer.param_groups: 0 groups, expected \d"),
        (drop(*GROUP, "lr"), r"optimizer.param_groups\[0\].lr: missing"),
        (put("fast", *GROUP, "lr"), r"optimizer.param_groups\[0\].lr: 'fast', expected a value such as"),
        (put(float("nan"), *GROUP, "weight_decay"), r"param_groups\[0\].weight_decay: nan"),
        (put((0.9,), *GROUP, "betas"), r"param_groups\[0\].betas: \(0.9,\)"),
        (put([0], *GROUP, "params"), r"param_groups\[0\].params: other parameters than the \d+ of"),
        (drop(*MOMENTS, "exp_avg"), r"optimizer.state\[0\].exp_avg: missing"),
        (put(torch.zeros(3), *MOMENTS, "exp_avg_sq"), r"optimizer.state\[0\].exp_avg_sq: \(3,\) of torch.float32"),
        (put(7, *MOMENTS, "step"), r"optimizer.state\[0\].step: int in place of a tensor"),
        (put({}, "optimizer", "state", 10_000), r"optimizer.state\[10000\]: one of \d+ parameters expected"),
        (drop("student", WEIGHT), f"student.{WEIGHT}: missing"),
        (put(torch.zeros(2), "teacher", WEIGHT), rf"teacher.{WEIGHT}: \(2,\) of"),
        (put([], "ranks"), "ranks: none"),
        (put({}, "ranks"), r"got .object. - at .\$.ranks"),
        (drop("ranks", 0, "random"), r"random. - at .\$.ranks"),
        (put(torch.zeros(9, dtype=torch.uint8), "ranks", 0, "random"), r"ranks\[0\].random: \(9,\) of torch.uint8"),
        (drop(*LOADER, "labeled", "epoch"), r"epoch. - at .\$.labeled. of ranks\[0\].loader"),
        (put(-1, *LOADER, "labeled", "offset"), r">= 0 - at .\$.labeled.offset. of ranks\[0\].loader"),
        (put([999], *LOADER, "labeled", "left_out"), r"ranks\[0\].loader.labeled.left_out: image 999, .* has 20"),
        (put([[3, [4000]]], *LOADER, "unlabeled", "refill"), r"loader.unlabeled.refill: image 4000, .* has 380"),
        (put([[0, torch.ones(7)]], *LOADER, "labeled", "repeat_factors"), r"repeat_factors: .* dataset, of 7"),
        (put(torch.zeros(3, 4), *CACHE, "boxes"), r"ranks\[0\].cache.boxes: \(3, 4\) of torch.float32"),
        (put(torch.tensor([0, 5, 2]), *CACHE, "offsets"), r"ranks\[0\].cache.offsets: they do not divide its"),
    ],
)  # fmt: skip
def test_the_field_that_cannot_be_taken_up_is_named(
    resumable: tuple[State, Trainer, dict[str, Dataset]],
    tmp_path: Path,
    change: Callable[[State], None],
    named: str,
) -> None:
    state, trainer, data = resumable
    require_state(state, trainer, data, tmp_path)
    changed = copy.deepcopy(state)
    change(changed)
    with pytest.raises(StoreError, match=named) as caught:
        require_state(changed, trainer, data, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_resume_that_is_refused_is_one_line_and_changes_nothing(
    run_config: Callable[..., TrainConfig], trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run_config(steps=12)
    run = Path(config.out)
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.json").write_bytes((trained / "config.json").read_bytes())
    state = checkpoint.load(trained / "checkpoints" / "step-000000012.pt")
    del state["optimizer"]["state"][3]["exp_avg"]
    path = checkpoint.save(run / "checkpoints", 12, state, keep=1)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    (run / ".config.json.1-ab.tmp").write_bytes(b"what a kill left is collected")
    assert cli.run(["train", f"{run}/config.json", "--out", str(run), "--steps", "14", "--resume"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"got another (optimizer.state[3].exp_avg: missing): {path}; copy it again" in line
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
