from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jobs.label import LabelConfig, label
from jobs.recipes import config_file
from jobs.recipes.choose_recipe import recipe_config
from jobs.recipes.detector_defaults import resolve_detector
from jobs.recipes.train_config import LogConfig, ResamplingConfig, ThresholdConfig, TrainConfig
from jobs.run import checkpoint
from jobs.run.interrupt import INTERRUPTED
from jobs.train import train
from model.method.gate import SemiSupervisedSettings
from storage.errors import ConfigError, RunStoppedError, StoreError
from storage.tables.label_store import LabelStore
from storage.tables.label_table import table_labels
from tests.same_states import assert_same

Make = Callable[..., TrainConfig]


def final_state(config: TrainConfig) -> dict[str, object]:
    newest = checkpoint.latest(Path(config.out) / "checkpoints")
    assert newest is not None
    state = checkpoint.load(newest)
    assert state["step"] == config.steps
    return state


def metrics(config: TrainConfig) -> list[dict[str, float]]:
    lines = (Path(config.out) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def start(config: TrainConfig, folder: Path, *flags: str) -> subprocess.Popen[bytes]:
    """Start `mixpl train` as a user does, in a process of its own; what it says goes to said.txt."""
    path = folder / "asked.json"
    path.write_text(config_file.to_json(config))
    command = [sys.executable, "-m", "jobs.cli", "train", str(path), *flags]
    with (folder / "said.txt").open("w") as said:
        return subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, "OMP_NUM_THREADS": "1"})


def wait_for_checkpoint(config: TrainConfig, process: subprocess.Popen[bytes], step: int) -> None:
    deadline = time.monotonic() + 90
    while not any(found >= step for found in checkpoint.steps(Path(config.out) / "checkpoints")):
        assert process.poll() is None, f"ended with {process.returncode} before step {step}"
        assert time.monotonic() < deadline, "no checkpoint within 90 s"
        time.sleep(0.01)


def test_a_run_writes_what_its_folder_promises(run_config: Make) -> None:
    config = run_config()
    assert train(config) == 0
    root = Path(config.out)
    origin = json.loads((root / "origin.json").read_text())
    assert origin["data"]["labeled"]["images"] == 20
    assert origin["data"]["unlabeled"]["split"]["hash"] == origin["data"]["labeled"]["split"]["hash"]
    assert config_file.from_json(
        TrainConfig, (root / "config.json").read_text(), where=""
    ) == resolve_detector(config)
    rows = metrics(config)
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10, 12]
    assert all("supervised_loss_box" in row for row in rows)
    assert all(0 <= row["wait_share"] <= 1 and 0 <= row["queue_depth"] <= 2 for row in rows)
    store = LabelStore(str(root / "online_labels"))
    assert store.stems() == [f"step-{step:09d}" for step in (4, 6, 8, 10, 12)]
    table = store.read("step-000000004")
    assert len(table) == 4
    assert set(table["step"].to_pylist()) == {3}
    boxes = table_labels(table).boxes_N4
    assert len(boxes)
    assert boxes.min() >= 0
    assert boxes.max() <= 64


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    run_config: Make, tmp_path: Path
) -> None:
    states = []
    for name, seed in (("first", 0), ("second", 0), ("third", 1)):
        config = run_config(out=str(tmp_path / name), seed=seed)
        train(config)
        states.append(final_state(config))
    assert_same(states[0], states[1])
    assert not torch.equal(
        *(next(iter(state["teacher"].values())) for state in states[1:])  # type: ignore[attr-defined]
    )


def test_the_arms_see_the_same_labeled_images_until_burn_in_ends(run_config: Make, tmp_path: Path) -> None:
    losses = {}
    for arm in ("supervised", "mean-teacher", "mixpl"):
        config = run_config(out=str(tmp_path / arm), arm=arm, burn_in=4, steps=6)
        train(config)
        losses[arm] = [row["supervised_loss_box"] for row in metrics(config)]
    assert losses["supervised"][:2] == losses["mixpl"][:2] == losses["mean-teacher"][:2]
    assert losses["supervised"][2] != losses["mixpl"][2]


def test_training_never_opens_the_kept_apart_truth(run_config: Make, drawn: Path, tmp_path: Path) -> None:
    blind = tmp_path / "blind"
    shutil.copytree(drawn / "unlabeled", blind)
    shutil.rmtree(blind / "hidden_truth")
    states = []
    for name, unlabeled in (("seeing", drawn / "unlabeled"), ("blind", blind)):
        base = run_config()
        config = run_config(
            out=str(tmp_path / f"{name}-run"), data=replace(base.data, unlabeled=str(unlabeled))
        )
        train(config)
        states.append(final_state(config))
    assert_same(states[0], states[1])


def wait_for_a_checkpoint_in_the_making(config: TrainConfig, process: subprocess.Popen[bytes]) -> None:
    deadline, folder = time.monotonic() + 90, Path(config.out) / "checkpoints"
    while not list(folder.glob(".*.tmp")):
        assert process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < deadline, "no checkpoint was begun within 90 s"


def test_a_run_killed_at_random_moments_ends_as_if_it_had_never_stopped(
    run_config: Make, tmp_path: Path
) -> None:
    """Checkpoints are written after every step, so that a kill is likely to meet one; one kill surely does."""
    rng, log = random.Random(1), LogConfig(metrics=1, checkpoint=1, keep=2, online_labels=2)
    whole = run_config(out=str(tmp_path / "whole"), steps=20, log=log)
    train(whole)
    broken = replace(whole, out=str(tmp_path / "broken"))
    for kill in range(3):
        reached = max(checkpoint.steps(Path(broken.out) / "checkpoints"), default=0)
        process = start(broken, tmp_path, "--resume")
        wait_for_checkpoint(broken, process, reached + rng.randint(1, 3))
        if kill == 1:
            wait_for_a_checkpoint_in_the_making(broken, process)
        else:
            time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=30) == -signal.SIGKILL, "the run was over before it was killed"
    assert train(replace(broken, resume=True)) == 0
    assert_same(final_state(whole), final_state(broken))
    timed = ("seconds_", "steps_per_second", "wait_share", "queue_depth")
    assert [{name: row[name] for name in row if not name.startswith(timed)} for row in metrics(broken)] == [
        {name: row[name] for name in row if not name.startswith(timed)} for row in metrics(whole)
    ]


def test_ctrl_c_leaves_a_checkpoint_that_resumes(run_config: Make, tmp_path: Path) -> None:
    base = run_config()
    scored = replace(base.data, test=base.data.labeled)
    config = run_config(steps=2000, data=scored, log=replace(base.log, evaluate=1))
    process = start(config, tmp_path)
    wait_for_checkpoint(config, process, 4)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == INTERRUPTED
    output = (tmp_path / "said.txt").read_text()
    stopped = checkpoint.steps(Path(config.out) / "checkpoints")[-1]
    assert (
        f"stopped after step {stopped}; continue with `mixpl train {config.out}/config.json --resume`"
        in output
    )
    scorings = Path(config.out) / "evaluations"
    assert len(list(scorings.iterdir())) == stopped - 1  # nobody who asked it to stop waits for one more
    longer = replace(config, steps=stopped + 2, resume=True)
    assert train(longer) == 0
    assert final_state(longer)["step"] == stopped + 2
    assert len(list(scorings.iterdir())) == stopped + 2


def test_a_finished_folder_is_not_trained_over(run_config: Make) -> None:
    config = run_config(steps=2, burn_in=2)
    train(config)
    with pytest.raises(ConfigError, match="holds a run already; add --resume"):
        train(config)


def test_a_resume_that_would_lie_is_refused_by_the_name_of_the_key(run_config: Make) -> None:
    config = run_config(steps=2, burn_in=2)
    train(config)
    other = replace(config, resume=True, steps=4, optim=replace(config.optim, lr=0.5))
    with pytest.raises(ConfigError, match=r"optim\.lr was 0\.003, asked for 0\.5"):
        train(other)
    with pytest.raises(ConfigError, match="arm was 'mixpl', asked for 'supervised'"):
        train(replace(config, arm="supervised", resume=True))
    assert train(replace(config, resume=True, steps=3, log=replace(config.log, metrics=1))) == 0


def test_a_run_holds_the_score_threshold_of_its_detector_as_a_number(run_config: Make) -> None:
    config = run_config(steps=2, pseudo=SemiSupervisedSettings())
    train(config)
    path = Path(config.out) / "config.json"
    assert json.loads(path.read_text())["pseudo"]["score_threshold"] == 0.5
    train(replace(config, resume=True, steps=3))
    other = SemiSupervisedSettings(score_threshold=0.7)
    with pytest.raises(ConfigError, match=r"pseudo\.score_threshold was 0\.5, asked for 0\.7"):
        train(replace(config, resume=True, steps=3, pseudo=other))
    path.write_text(path.read_text().replace('"score_threshold": 0.5', '"score_threshold": 0.7'))
    train(replace(recipe_config(str(path)), resume=True, steps=4))
    with pytest.raises(ConfigError, match=r"pseudo\.score_threshold was 0\.7, asked for 0\.5"):
        train(replace(config, resume=True, steps=4))


def test_a_resumed_run_keeps_what_it_was_asked_anew(run_config: Make) -> None:
    config = run_config(steps=2, burn_in=2)
    train(config)
    train(replace(config, resume=True, steps=4))
    stored = (Path(config.out) / "config.json").read_text()
    assert config_file.from_json(TrainConfig, stored, where="") == resolve_detector(replace(config, steps=4))


def test_a_run_killed_while_it_was_scored_is_scored_when_resumed(run_config: Make, drawn: Path) -> None:
    config = run_config(steps=2, burn_in=2, data=replace(run_config().data, test=str(drawn / "test")))
    train(config)
    (scoring,) = (Path(config.out) / "evaluations").iterdir()
    first = scoring.read_bytes()
    scoring.unlink()
    train(replace(config, resume=True))
    assert scoring.read_bytes() == first


def test_labels_of_steps_that_are_taken_anew_are_removed(run_config: Make) -> None:
    config = run_config(steps=4)
    labels = Path(config.out) / "online_labels"
    labels.mkdir(parents=True)
    (labels / "step-000000100.parquet").write_bytes(b"of a run that was killed before its first checkpoint")
    train(config)
    assert LabelStore(str(labels)).stems() == ["step-000000004"]
    train(replace(config, resume=True))
    assert LabelStore(str(labels)).stems() == ["step-000000004"]


def test_burn_in_is_given_as_the_reason_for_no_unsupervised_loss(
    run_config: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run_config(steps=4, burn_in=3)
    train(config)
    assert "burn-in: no unsupervised loss before step 4" in capsys.readouterr().err
    assert [row["skipped_burn_in_steps"] for row in metrics(config)] == [2, 1]


def test_a_non_finite_loss_names_step_part_and_images_and_keeps_the_checkpoint(run_config: Make) -> None:
    base = run_config()
    config = run_config(
        burn_in=12,
        log=replace(base.log, checkpoint=1),
        optim=replace(base.optim, lr=1e30, warmup_start=0.0, clip=1e30),
    )
    with pytest.raises(
        RunStoppedError, match=r"step \d+: (loss supervised_loss_\w+|the gradient) is"
    ) as caught:
        train(config)
    kept = checkpoint.latest(Path(config.out) / "checkpoints")
    assert kept is not None
    assert f"the last good checkpoint is {kept}" in str(caught.value)
    assert all(value.isfinite().all() for value in checkpoint.load(kept)["student"].values())


def test_a_skipped_unsupervised_loss_says_why(run_config: Make, capsys: pytest.CaptureFixture[str]) -> None:
    train(run_config(steps=4, pseudo=replace(run_config().pseudo, score_threshold=0.999)))
    said = capsys.readouterr().err
    assert "mixup loss skipped in 2 of 2 steps" in said
    assert "gate every_image: 4 of 4 images keep fewer than 1 boxes" in said
    assert "score threshold 0.999" in said
    assert "median" in said


def test_a_shard_that_vanishes_while_training_is_counted_and_the_run_goes_on(
    run_config: Make, drawn: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(drawn / "unlabeled", damaged)
    (damaged / "shard-000001.tar").unlink()
    config = run_config(data=replace(run_config().data, unlabeled=str(damaged)), steps=8)
    assert train(config) == 0
    assert metrics(config)[-1]["unreadable_unlabeled"] > 0


def test_missing_labels_and_other_classes_are_refused(run_config: Make, drawn: Path) -> None:
    data = run_config().data
    with pytest.raises(ConfigError, match="that data set has no labels"):
        train(run_config(data=replace(data, labeled=str(drawn / "unlabeled"))))
    with pytest.raises(StoreError, match="expected a data set folder"):
        train(run_config(data=replace(data, unlabeled=str(drawn / "images"))))


def test_a_finished_run_says_so_and_fewer_steps_are_refused(
    run_config: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run_config(steps=4, burn_in=4)
    train(config)
    assert train(replace(config, resume=True)) == 0
    assert "is complete at step 4" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="has 4 steps already, asked for --steps 3"):
        train(replace(config, resume=True, steps=3))


def test_a_run_goes_on_where_its_data_moved_to(run_config: Make, drawn: Path, tmp_path: Path) -> None:
    config = run_config(steps=4)
    train(config)
    moved = tmp_path / "moved"
    shutil.copytree(drawn / "labeled", moved)
    assert train(replace(config, resume=True, steps=6, data=replace(config.data, labeled=str(moved)))) == 0
    with pytest.raises(StoreError, match="written with another dataset"):
        train(replace(config, resume=True, steps=8, data=replace(config.data, labeled=str(drawn / "test"))))
    assert final_state(replace(config, steps=6))["step"] == 6
    kept = config_file.from_json(TrainConfig, (Path(config.out) / "config.json").read_text(), where="")
    assert kept.data.labeled == str(moved)


def test_two_processes_do_not_train_one_run(run_config: Make, tmp_path: Path) -> None:
    config = run_config(steps=2000)
    process = start(config, tmp_path)
    try:
        wait_for_checkpoint(config, process, 4)
        with pytest.raises(StoreError, match="another `mixpl train` is writing"):
            train(replace(config, resume=True))
    finally:
        process.kill()
        process.wait()


def test_a_fresh_start_clears_what_a_run_without_checkpoint_left(run_config: Make) -> None:
    config = run_config(steps=2, burn_in=2, log=replace(run_config().log, online_labels=0))
    stale = Path(config.out) / "online_labels" / "step-000000900.parquet"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"stale")
    train(config)
    assert not stale.exists()


def test_a_test_set_without_labels_is_refused_before_the_first_step(run_config: Make, drawn: Path) -> None:
    data = replace(run_config().data, test=str(drawn / "unlabeled"))
    with pytest.raises(ConfigError, match=r"--data\.test .*no labels to score against"):
        train(run_config(data=data))


def test_thresholds_by_class_follow_the_teacher_and_survive_a_resume(
    run_config: Make, tmp_path: Path
) -> None:
    policy = ThresholdConfig(policy="prior", every=3)
    states = []
    for name in ("whole", "stopped"):
        config = run_config(out=str(tmp_path / name), steps=12, thresholds=policy)
        if name == "stopped":
            train(replace(config, steps=7))  # burn-in 2, then in the middle of the second window
            train(replace(config, resume=True))
        else:
            train(config)
        states.append(final_state(config))
    assert_same(states[0], states[1])
    last = metrics(config)[-1]
    assert {last[f"threshold_{category}"] for category in range(6)} != {0.051}
    assert metrics(config)[0]["threshold_0"] == 0.051


def test_repeat_factors_are_asked_again_while_training(
    run_config: Make, drawn: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels"
    resampling = ResamplingConfig(threshold=0.5, every=4, rounds=str(labels))
    first = run_config(steps=4, resampling=resampling)
    train(first)
    train(replace(first, steps=5, resume=True, log=replace(first.log, checkpoint=1)))
    train(replace(first, steps=8, resume=True))
    assert "from epoch" not in capsys.readouterr().err  # no round yet: the same factors again
    label(LabelConfig(run=str(trained), data=str(drawn / "unlabeled"), out=str(labels), score_threshold=0.06))
    longer = replace(first, steps=16, resume=True)
    train(longer)
    assert "of the labeled images, resampling:" in capsys.readouterr().err
    assert final_state(longer)["step"] == 16


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_on_cuda_in_bfloat16_ends_with_finite_weights(run_config: Make) -> None:
    config = run_config(device="cuda")
    assert train(config) == 0
    weights = final_state(config)["teacher"]
    assert all(value.isfinite().all() for value in weights.values())  # type: ignore[attr-defined]
