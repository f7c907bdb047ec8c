"""`mixpl preview`: the step of the real run, its boxes on its pixels, and the picture of the page on plans."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from jobs.cli import run
from jobs.pictures.preview_step import PreviewStep, preview_step, truth_on_weak
from jobs.pictures.view_pictures import known_truth, original_picture, view_pictures
from jobs.recipes.detector_defaults import view_settings
from jobs.recipes.drawn import tiny
from jobs.recipes.train_config import ResamplingConfig
from pipeline.loaders.batch import LabelCache
from pipeline.loaders.labeled import LabeledData
from pipeline.loaders.train_loader import TrainLoader
from pipeline.loaders.unlabeled import UnlabeledData
from pipeline.plans import move_boxes as boxes
from storage.dataset.dataset import Dataset
from storage.tables.label_store import LabelStore

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def data(drawn: Path) -> list[str]:
    return ["--data.labeled", str(drawn / "labeled"), "--data.unlabeled", str(drawn / "unlabeled")]


def pixels_of(path: Path) -> npt.NDArray[np.float32]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.float32)


def sets(drawn: Path) -> tuple[Dataset, Dataset]:
    return Dataset.open(str(drawn / "labeled")), Dataset.open(str(drawn / "unlabeled"))


def seen_at(drawn: Path, step: int, *, burn_in: int) -> PreviewStep:
    labeled, unlabeled = sets(drawn)
    resampling = ResamplingConfig(threshold=0.0)
    config = dataclasses.replace(tiny(), burn_in=burn_in, resampling=resampling)
    data = {"labeled": labeled, "unlabeled": unlabeled}
    return preview_step(config, data, step, truth_on_weak(unlabeled))


def test_a_step_is_that_of_the_real_run_with_the_boxes_of_all_that_was_cached_before(drawn: Path) -> None:
    labeled, unlabeled = sets(drawn)
    recipe = tiny()
    cache = LabelCache(recipe.mix.capacity(4))
    with TrainLoader(
        LabeledData(dataset=labeled, batch_size=4),
        UnlabeledData(dataset=unlabeled, mix=recipe.mix, start_step=1),
        view=view_settings(recipe),
        num_steps=7,
    ) as loader:
        for batch in loader:
            if batch.plan is None:
                continue
            truth = known_truth(unlabeled, batch.plan.keys)
            assert truth is not None
            weak = boxes.project(truth, batch.plan.weak.matrices_B33, batch.plan.weak.sizes_B2)
            strong = batch.plan.strong_labels(weak)
            if batch.step == 6:
                break
            cache.push(strong)
    assert batch.plan is not None
    seen = seen_at(drawn, 6, burn_in=1)
    for ours, theirs in (
        (seen.batch.labeled, batch.labeled),
        (seen.batch.weak, batch.weak),
        (seen.batch.student, batch.student),
        (seen.batch.mosaic, batch.mosaic),
    ):
        assert ours is not None
        assert theirs is not None
        assert ours.keys == theirs.keys
        assert bool((ours.images_BCHW == theirs.images_BCHW).all())
    for mine, expected in (
        (seen.weak_labels, weak),
        (seen.strong_labels, strong),
        (seen.student_labels, batch.plan.student_labels(strong, cache)),
        (seen.mosaic_labels, batch.plan.mosaic_labels(cache)),
    ):
        assert mine is not None
        assert len(mine.boxes_N4)
        np.testing.assert_array_equal(mine.boxes_N4, expected.boxes_N4)
        np.testing.assert_array_equal(mine.offsets_B1, expected.offsets_B1)


def test_the_strong_views_are_those_that_are_mixed_and_the_geometry_leads_to_them(drawn: Path) -> None:
    seen = seen_at(drawn, 5, burn_in=2)
    assert seen.strong is not None
    assert seen.current is not None
    assert seen.cached is not None
    plan = seen.batch.plan
    assert plan is not None
    assert plan.mix.mosaic is not None
    assert seen.strong.sizes_B2 == [tuple(size) for size in plan.strong.sizes_B2.tolist()]
    assert seen.cached.keys == (
        *seen_at(drawn, 3, burn_in=2).batch.plan.keys,
        *seen_at(drawn, 4, burn_in=2).batch.plan.keys,
    )  # type: ignore[union-attr]
    tiles = seen.cached.take(plan.mix.mosaic.positions_4)
    assert seen.batch.mosaic is not None
    assert "+".join(tiles.keys) == seen.batch.mosaic.keys[0]
    quads = tiles.quads(plan.mix.mosaic.tiles)
    whole = plan.mix.mosaic.tiles.matrices_N33 @ tiles.matrices_B33
    corner = whole[1] @ [64, 64, 1]  # the lower right corner of the second tile's original
    np.testing.assert_allclose(quads[1, 2], corner[:2])


def test_before_burn_in_there_is_only_the_labeled_view_and_before_the_cache_is_full_nothing_is_mixed(
    drawn: Path,
) -> None:
    early = seen_at(drawn, 0, burn_in=1)
    assert early.batch.labeled is not None
    assert early.batch.weak is early.strong is early.current is early.student_labels is None
    unmixed = seen_at(drawn, 1, burn_in=1)
    assert unmixed.batch.mosaic is None
    assert unmixed.student_labels is not None
    assert unmixed.cached is None


def test_the_pages_are_drawn_and_hold_what_they_say(
    drawn: Path, trained: Path, data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heights = []
    for name, more in (
        ("step", ["--burn-in", "0"]),
        ("labeled", ["--step", "0"]),
        ("supervised", ["--arm", "supervised"]),
        ("teacher", ["--burn-in", "0", "--run", str(trained)]),
        ("mean", ["--arm", "mean-teacher", "--burn-in", "0"]),
    ):
        assert run(["preview", "tiny", *data, "--out", str(tmp_path / f"{name}.png"), *more]) == 0
        picture = pixels_of(tmp_path / f"{name}.png")
        assert picture.std() > 30
        heights.append(picture.shape[0])
    step, labeled, supervised, teacher, mean = heights
    assert step == teacher > mean > labeled == supervised
    said = capsys.readouterr().out
    assert "step.png: step 2, boxes of unlabeled images: the truth" in said
    assert "the teacher of short at step 12, score > 0.051" in said
    assert np.abs(pixels_of(tmp_path / "step.png") - pixels_of(tmp_path / "teacher.png")).max() > 100


def test_a_run_is_previewed_by_its_config_and_where_no_truth_is_known_no_box_is_drawn(
    drawn: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = Path(shutil.copytree(drawn / "unlabeled", tmp_path / "unknown"))
    head = (unknown / "dataset.json").read_text()
    (unknown / "dataset.json").write_text(
        head.replace('"has_hidden_truth": true', '"has_hidden_truth": false')
    )
    more = ["--data.unlabeled", str(unknown), "--out", str(tmp_path / "page.png")]
    assert run(["preview", str(trained / "config.json"), *more, "--step", "7"]) == 0
    assert "step 7, boxes of unlabeled images: not known; --run names a teacher" in capsys.readouterr().out


def test_the_picture_of_the_page_on_plans_is_drawn_again_by_its_command(
    data: list[str], tmp_path: Path
) -> None:
    assert run(["preview", "tiny", *data, "--plan", "--out", str(tmp_path / "plan.png")]) == 0
    ours, theirs = pixels_of(tmp_path / "plan.png"), pixels_of(DOCS / "plan.png")
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).mean() < 0.5  # of 255; another version of a font or a codec is no other plan
    assert (DOCS / "plan.png").stat().st_size < 300_000


@pytest.mark.parametrize("more", [["--step", "601"], ["--arm", "supervised"], ["--mix.no-mosaic"]])
def test_a_plan_is_taken_apart_only_where_there_is_one(
    data: list[str], more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plan.png"
    assert run(["preview", "tiny", *data, "--plan", "--out", str(out), *more]) == 2
    assert "expected a step with mixup and mosaic for --plan" in capsys.readouterr().err
    assert not out.exists()


def test_truth_is_read_from_the_tables_of_the_named_images_only(
    drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlabeled = Dataset.open(str(drawn / "unlabeled"))
    rows = unlabeled.images().to_pylist()
    keys = [rows[60]["key"], rows[51]["key"], rows[60]["key"]]
    read, opened = LabelStore.read, []

    def counted(store: LabelStore, stem: str, *, columns: Sequence[str] | None = None) -> Any:
        opened.append(stem)
        return read(store, stem, columns=columns)

    monkeypatch.setattr(LabelStore, "read", counted)
    labels = known_truth(unlabeled, keys)
    assert opened == ["shard-000001"]
    assert labels is not None
    assert len(labels) == 3
    np.testing.assert_array_equal(labels.image(0).boxes_N4, labels.image(2).boxes_N4)
    assert not np.array_equal(labels.image(0).boxes_N4, labels.image(1).boxes_N4)


def test_pixels_are_shown_as_they_were_before_normalisation(drawn: Path) -> None:
    seen, view = seen_at(drawn, 0, burn_in=0), view_settings(tiny())
    assert seen.batch.weak is not None
    for picture, size, key in zip(
        view_pictures(seen.batch.weak, view), seen.batch.weak.sizes_B2, seen.batch.weak.keys, strict=True
    ):
        assert picture.shape == (*size, 3)
        original = original_picture(Dataset.open(str(drawn / "unlabeled")), key)
        assert abs(picture.mean() - original.mean()) < 2  # a weak view is resized and flipped, no more
