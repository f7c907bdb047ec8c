"""Training from a stored round: what is asked, what is learned, and what a resume may not change."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs import cli
from jobs.inference.tensor_labels import labels_of
from jobs.inference.trained import open_trained
from jobs.label import LabelConfig, label
from jobs.pictures.preview_step import preview_step, round_on_weak, truth_on_weak
from jobs.preview import PreviewConfig, preview
from jobs.recipes.detector_defaults import view_settings
from jobs.recipes.train_config import LabelsConfig, LabelSource, ThresholdConfig, TrainConfig
from jobs.run import checkpoint
from jobs.run.ranks import Ranks
from jobs.train import train
from jobs.training.build_trainer import build_trainer
from jobs.training.run_data import open_data, open_loader, read_run_inputs
from jobs.training.stored_round import open_labels, resolve_round, stored_repeat_factors
from model.method.teacher import Teacher
from pipeline.loaders.batch import LabelCache
from pipeline.loaders.train_loader import TrainLoader
from pipeline.loaders.unlabeled import UnlabeledData
from storage.database.connect import connect
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError, StoreError
from storage.tables.label_store import LabelStore

Make = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def labels(drawn: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one round by the short run's teacher; its threshold lets a part of the boxes through."""
    out = tmp_path_factory.mktemp("labels")
    config = LabelConfig(run=str(trained), data=str(drawn / "unlabeled"), out=str(out), score_threshold=0.12)
    assert label(config) == 0
    return out


def by_round(labels: Path, source: LabelSource = "round", **more: Any) -> LabelsConfig:
    return LabelsConfig(source=source, round=str(labels), **more)


def data_of(config: TrainConfig) -> dict[str, Dataset]:
    return {
        "labeled": Dataset.open(config.data.labeled),
        "unlabeled": Dataset.open(str(config.data.unlabeled)),
    }


def metrics(config: TrainConfig) -> list[dict[str, float]]:
    return [json.loads(line) for line in (Path(config.out) / "metrics.jsonl").read_text().splitlines()]


def final_state(config: TrainConfig) -> dict[str, Any]:
    newest = checkpoint.latest(Path(config.out) / "checkpoints")
    assert newest is not None
    return checkpoint.load(newest)


def assert_same(first: Any, second: Any) -> None:
    """Compare nested states bit for bit."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        first, second = list(first.values()), list(second.values())
    if isinstance(first, list | tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


def test_stored_labels_are_those_that_the_same_teacher_gives_while_training(
    run_config: Make, trained: Path, labels: Path
) -> None:
    views = replace(run_config().view, short_range=(64, 64), flip=0.0)  # the weak view is then the test view
    config = run_config(view=views, labels=by_round(labels))
    view = view_settings(config)
    config = resolve_round(config, data := data_of(config))
    teacher = open_trained(str(trained), weights="teacher", device=torch.device("cpu")).detector
    cache, boxes = LabelCache(config.mix.capacity(4)), 0
    images = UnlabeledData(dataset=data["unlabeled"], mix=config.mix)
    labeled = replace(images, labels=open_labels(config, data))
    with (
        TrainLoader(None, images, view=view, num_steps=5) as online,
        TrainLoader(None, labeled, view=view, num_steps=5) as stored,
    ):
        for asked, known in zip(online, stored, strict=True):
            assert asked.weak is not None
            assert asked.plan is not None
            assert known.student is not None
            weak = labels_of(teacher.predict(asked.weak.images_BCHW, asked.weak.sizes_B2))
            strong = asked.plan.strong_labels(weak)
            wanted = {"student": asked.plan.student_labels(strong, cache)}
            if asked.mosaic is not None:
                wanted["mosaic"] = asked.plan.mosaic_labels(cache)
            cache.push(strong)
            for name, one in wanted.items():
                found = getattr(known, name).targets
                np.testing.assert_array_equal(found.offsets_B1, one.offsets_B1)
                np.testing.assert_array_equal(found.categories_N, one.categories_N)
                np.testing.assert_allclose(found.scores_N, one.scores_N, atol=1e-5)
                np.testing.assert_allclose(found.boxes_N4, one.boxes_N4, atol=1e-3)
                boxes += len(one.boxes_N4)
    assert boxes > 500


def test_the_teacher_is_not_asked_but_follows_and_every_step_learns(
    run_config: Make, labels: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run_config(labels=by_round(labels), steps=8)
    start = build_trainer(
        config, data_of(config)["labeled"], torch.device("cpu"), Ranks()
    ).teacher.state_dict()
    start = {name: value.clone() for name, value in start.items()}

    def asked(*_: object) -> None:
        raise AssertionError("the teacher was asked")

    monkeypatch.setattr(Teacher, "predict", asked)
    assert train(config) == 0
    assert any(not torch.equal(value, start[name]) for name, value in final_state(config)["teacher"].items())
    rows = metrics(config)
    assert rows[-1]["mixup_loss_box"] > 0
    assert rows[-1]["mosaic_loss_box"] > 0
    assert LabelStore(str(Path(config.out) / "online_labels")).stems() == []
    said = capsys.readouterr().err
    assert f"labels: {labels}/round=0001, 380 images, scores above 0.12" in said


def test_stored_labels_count_where_the_view_of_pseudo_labels_counts_them(
    run_config: Make, labels: Path
) -> None:
    config = run_config(labels=by_round(labels))
    data = data_of(config)
    stored = open_labels(resolve_round(config, data), data)
    assert stored is not None
    all_labels = stored.labels_of(stored.rows)
    counted = all_labels.scores_N > stored.thresholds_C[all_labels.categories_N]
    with connect(str(labels)) as con:
        assert con.execute("SELECT count(*) FROM pseudo_labels").fetchone() == (int(counted.sum()),)
    assert 0 < counted.sum() < len(counted)


def test_a_round_with_thresholds_by_class_brings_them_along(
    run_config: Make, drawn: Path, trained: Path, tmp_path: Path
) -> None:
    config = LabelConfig(run=str(trained), data=str(drawn / "unlabeled"), out=str(tmp_path / "labels"))
    assert label(replace(config, threshold_policy="prior", labeled=str(drawn / "labeled"))) == 0
    asked = run_config(labels=by_round(tmp_path / "labels"), steps=4)
    stored = open_labels(resolve_round(asked, data_of(asked)), data_of(asked))
    assert stored is not None
    with connect(str(tmp_path / "labels")) as con:
        rows = con.execute("SELECT score_threshold FROM thresholds ORDER BY category").fetchall()
    assert stored.thresholds_C.tolist() == [threshold for (threshold,) in rows]
    assert len(set(stored.thresholds_C.tolist())) > 1
    assert train(asked) == 0


def test_a_closed_gate_names_the_threshold_of_the_round(
    run_config: Make, drawn: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = LabelConfig(run=str(trained), data=str(drawn / "unlabeled"), out=str(tmp_path / "labels"))
    assert label(replace(config, score_threshold=0.99)) == 0
    train(run_config(labels=by_round(tmp_path / "labels"), steps=4))
    said = capsys.readouterr().err
    assert "gate every_image: 4 of 4 images keep fewer than 1 boxes" in said
    assert "score threshold 0.99, " in said
    assert "median" in said


@pytest.mark.parametrize(
    ("arm", "more"),
    [
        ("mixpl", {}),
        ("mixpl", {"source": "round-then-teacher", "until": 7}),
        ("mean-teacher", {"source": "round-then-teacher", "until": 7}),
    ],
)
def test_a_stopped_and_resumed_run_ends_as_if_it_had_never_stopped(
    run_config: Make, labels: Path, tmp_path: Path, arm: str, more: dict[str, Any]
) -> None:
    asked = by_round(labels, **more)
    whole = run_config(out=str(tmp_path / "whole"), labels=asked, arm=arm)
    train(whole)
    # In the middle of the stored part, at the switch, and right after it.
    broken = replace(whole, out=str(tmp_path / "broken"))
    for steps in (5, 7, 8) if more and arm == "mixpl" else (6,):
        train(replace(broken, steps=steps, resume=steps > 6))
    train(replace(broken, resume=True))
    assert_same(final_state(whole), final_state(broken))
    losses = [[row for name, row in line.items() if "loss" in name] for line in metrics(whole)]
    assert [[row for name, row in line.items() if "loss" in name] for line in metrics(broken)][-1] == losses[
        -1
    ]


def test_after_the_switch_the_teacher_labels_and_its_thresholds_follow_it_alone(
    run_config: Make, labels: Path
) -> None:
    asked = by_round(labels, source="round-then-teacher", until=6)
    config = run_config(labels=asked, thresholds=ThresholdConfig(policy="prior", every=3))
    assert train(config) == 0
    stems = LabelStore(str(Path(config.out) / "online_labels")).stems()
    assert stems == [f"step-{step:09d}" for step in (8, 10, 12)]
    rows = {
        int(row["step"]): [row[f"threshold_{category}"] for category in range(6)] for row in metrics(config)
    }
    assert rows[8] == [0.051] * 6  # two steps of the teacher: no window of three is full
    assert rows[10] != [0.051] * 6
    assert all(row["mixup_loss_box"] > 0 for row in metrics(config)[2:])


def test_the_latest_round_is_taken_and_kept_to(
    run_config: Make, drawn: Path, labels: Path, trained: Path, tmp_path: Path
) -> None:
    rounds = tmp_path / "labels"
    shutil.copytree(labels, rounds)
    config = run_config(labels=by_round(rounds), steps=4)
    train(config)
    kept = json.loads((Path(config.out) / "config.json").read_text())["labels"]
    assert kept["round"] == f"{rounds}/round=0001"
    student = LabelConfig(run=str(trained), data=str(drawn / "unlabeled"), out=str(rounds), weights="student")
    assert label(replace(student, score_threshold=0.12)) == 0
    later = replace(config, steps=6, resume=True)
    with pytest.raises(StoreError, match=r"expected labels of .*round=0001, .* got .*round=0002"):
        train(later)
    moved = tmp_path / "moved"
    shutil.move(rounds, moved)
    assert train(replace(later, labels=by_round(moved / "round=0001"))) == 0


def test_rounds_that_do_not_fit_are_refused_before_the_first_step(
    run_config: Make, drawn: Path, labels: Path, tmp_path: Path
) -> None:
    nothing = r"--labels\.round for .*unlabeled: expected a complete round of .*, got no round at all"
    with pytest.raises(ConfigError, match=nothing):
        train(run_config(labels=by_round(tmp_path)))
    data = replace(run_config().data, unlabeled=str(drawn / "test"))
    other = r"for .*test: expected a complete round of .*, got .*round=0001 \(of unlabeled\); .*`mixpl label`"
    with pytest.raises(ConfigError, match=other):
        train(run_config(labels=by_round(labels), data=data))
    with pytest.raises(
        ConfigError, match=r"--labels\.round expected labels of .*test .*, got those of .*unlabeled"
    ):
        train(run_config(labels=by_round(labels / "round=0001"), data=data))
    copy = tmp_path / "labels"
    shutil.copytree(labels, copy)
    (copy / "round=0001" / "shard-000002.parquet").unlink()
    with pytest.raises(ConfigError, match=r"--labels\.round .*got none for 1, the first is shard-000002"):
        train(run_config(labels=by_round(copy)))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_partial_labels_are_said_in_the_log(
    run_config: Make, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "labels"
    shutil.copytree(labels, copy)
    (copy / "round=0001" / "shard-000002.parquet").unlink()
    assert train(run_config(labels=by_round(copy, partial=True), steps=4)) == 0
    assert "330 images, " in (said := capsys.readouterr().err)
    assert "left out: 50 images in shards without a label table" in said


def test_images_with_rare_pseudo_labels_are_repeated(
    run_config: Make, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run_config(labels=by_round(labels, resample=0.9), steps=4)
    data = data_of(config)
    factors = stored_repeat_factors(resolve_round(config, data), data)
    assert factors is not None
    with connect(str(labels)) as con:
        rows = con.execute("SELECT key, class FROM pseudo_labels GROUP BY ALL").fetchall()
    num_of = {name: sum(one == name for _, one in rows) for name in {name for _, name in rows}}
    for key, factor in factors.items():
        classes = [name for one, name in rows if one == key]
        wanted = max((max(1.0, (0.9 / (num_of[name] / 380)) ** 0.5) for name in classes), default=1.0)
        assert factor == pytest.approx(wanted)
    assert len(factors) == 380
    assert max(factors.values()) > 1
    assert train(config) == 0
    assert "images are repeated, at most" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "round"}, "--labels.source round needs --labels.round"),
        ({"round": "labels"}, "add --labels.source round"),
        ({"partial": True}, "are for stored labels"),
        ({"source": "round", "round": "labels", "until": 5}, "got 5 with round$"),
        ({"source": "round-then-teacher", "round": "labels"}, "got 0 with round-then-teacher"),
        ({"source": "round", "round": "labels", "resample": 2.0}, r"--labels.resample must lie in 0 .. 1"),
    ],
)
def test_what_would_be_ignored_is_refused_with_the_flag_to_set(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LabelsConfig(**change)


def test_a_switch_within_burn_in_and_thresholds_of_nobody_are_refused(run_config: Make, labels: Path) -> None:
    with pytest.raises(ConfigError, match=r"--labels\.until must be above --burn-in 2"):
        run_config(labels=by_round(labels, source="round-then-teacher", until=2))
    with pytest.raises(ConfigError, match=r"--thresholds\.policy prior follows the teacher"):
        run_config(labels=by_round(labels), thresholds=ThresholdConfig(policy="prior"))


def test_train_label_train_from_the_round_on_the_command_line(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data.labeled", f"{drawn}/labeled", "--data.unlabeled", f"{drawn}/unlabeled"]
    first, second, rounds = (str(tmp_path / name) for name in ("teacher", "student", "labels"))
    short = ["--steps", "6", "--burn-in", "0", "--log.metrics", "2"]
    assert cli.run(["train", "tiny", "--out", first, "--arm", "supervised", *data, *short]) == 0
    label_it = ["label", first, "--data", f"{drawn}/unlabeled", "--out", rounds, "--score-threshold", "0.051"]
    assert cli.run(label_it) == 0
    stored = ["--labels.source", "round", "--labels.round", rounds]
    assert cli.run(["train", "tiny", "--out", second, *data, *short, *stored]) == 0
    assert "380 images, scores above 0.051" in capsys.readouterr().err
    rows = [json.loads(line) for line in Path(second, "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["mosaic_loss_box"] > 0
    assert rows[0]["boxes_per_image"] > 0
    assert cli.run(["train", "tiny", "--out", f"{second}-2", *data, *stored[:2]]) == 2
    assert "--labels.source round needs --labels.round" in capsys.readouterr().err


def test_a_preview_shows_the_images_and_boxes_of_the_run_that_learns_from_a_round(
    run_config: Make, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = Path(shutil.copytree(labels, tmp_path / "some"))
    (some / "round=0001" / "shard-000000.parquet").unlink()  # so the order of images is another one
    config = run_config(labels=by_round(some, "round-then-teacher", until=4, partial=True), burn_in=0)
    data = open_data(config)
    config = resolve_round(config, data)
    with open_loader(config, data, read_run_inputs(config, data), torch.device("cpu")) as loader:
        batches = list(itertools.islice(loader, 6))
    looked_at = PreviewConfig.from_recipe(config)
    stored = open_labels(config, data)
    assert stored is not None
    weak_labels = round_on_weak(stored, data["unlabeled"], otherwise=truth_on_weak(data["unlabeled"]))
    for step in (3, 5):
        seen, batch = preview_step(looked_at.run, data, step, weak_labels), batches[step]
        assert (seen.batch.weak is None) == (step == 3)
        assert seen.batch.student is not None
        assert batch.student is not None
        assert seen.batch.student.keys == batch.student.keys
        assert torch.equal(seen.batch.student.images_BCHW, batch.student.images_BCHW)
        assert batch.plan is not None
        assert seen.strong is not None
        assert seen.strong.keys == batch.plan.keys
        if batch.student.targets is not None:
            targets = batch.student.targets
            assert batch.thresholds_C is not None
            counted = targets.keep(targets.scores_N > batch.thresholds_C[targets.categories_N])
            assert seen.student_labels is not None
            assert len(counted.boxes_N4)
            np.testing.assert_allclose(seen.student_labels.boxes_N4, counted.boxes_N4, atol=1e-3)
        preview(replace(looked_at, step=step, out=str(tmp_path / f"{step}.png")))
    said = capsys.readouterr().out
    assert "step 3, boxes of unlabeled images: " + stored.name in said
    assert "step 5, boxes of unlabeled images: the truth" in said
