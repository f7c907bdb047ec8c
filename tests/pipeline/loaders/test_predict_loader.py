"""Prediction: every readable image once, in order, and boxes back in the pixels of the originals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.loaders.predict_loader import PredictBatch, PredictLoader
from pipeline.plans.move_boxes import project
from pipeline.settings import ViewSettings
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError
from storage.labels import Labels
from storage.tables.label_table import table_labels

DrawSet = Callable[..., Dataset]
Damage = Callable[..., str]

VIEW = ViewSettings(test_short=48, test_long_max=80)


def predict(dataset: Dataset, **more: Any) -> tuple[list[PredictBatch], PredictLoader]:
    with PredictLoader(dataset, **({"batch_size": 3, "view": VIEW} | more)) as loader:
        return list(loader), loader


def keys_of(batches: list[PredictBatch]) -> list[str]:
    return [key for batch in batches for key in batch.keys]


def test_every_image_comes_once_in_order_and_no_batch_spans_two_shards(draw_set: DrawSet) -> None:
    dataset = draw_set("set", 10)
    batches, loader = predict(dataset)
    table = dataset.images()
    assert keys_of(batches) == table["key"].to_pylist()
    assert np.concatenate([batch.image_ids_B for batch in batches]).tolist() == table["image_id"].to_pylist()
    assert [len(batch.keys) for batch in batches] == [3, 1, 3, 1, 2]
    assert [batch.shard[-5] for batch in batches] == ["0", "0", "1", "1", "2"]
    assert loader.skipped == []
    heights = np.concatenate([batch.original_sizes_B2[:, 0] for batch in batches])
    assert heights.tolist() == table["height"].to_pylist()
    for batch in batches:
        assert min(min(size) for size in batch.view.sizes_B2) <= 48
        assert max(max(size) for size in batch.view.sizes_B2) <= 80
        assert all(side % 32 == 0 for side in batch.view.images_BCHW.shape[2:])


def test_every_image_is_padded_as_it_is_alone_in_few_batches(draw_set: DrawSet) -> None:
    dataset = draw_set("set", 24, per_shard=20)
    fine = ViewSettings(test_short=48, test_long_max=80, pad_multiple=16)
    alone = {batch.keys[0]: batch.view for batch in predict(dataset, batch_size=1, view=fine)[0]}
    assert list(alone) == dataset.images()["key"].to_pylist()
    shapes = {view.images_BCHW.shape[2:] for view in alone.values()}
    assert len(shapes) >= 4
    for size in (3, 40):
        batches = predict(dataset, batch_size=size, view=fine)[0]
        assert len(batches) <= 24 / size + 2 * len(shapes)  # at most one small batch a size and shard
        assert sorted(row for batch in batches for row in batch.rows_B) == list(range(24))
        for batch in batches:
            assert batch.rows_B.tolist() == sorted(batch.rows_B)
            assert batch.keys == tuple(dataset.images()["key"].take(batch.rows_B).to_pylist())
            for index, key in enumerate(batch.keys):
                assert torch.equal(batch.view.images_BCHW[index], alone[key].images_BCHW[0])
                assert batch.view.sizes_B2[index] == alone[key].sizes_B2[0]


def test_boxes_of_the_view_return_to_the_original_and_show_their_colour(draw_set: DrawSet) -> None:
    dataset = draw_set("set", 5, labeled=True)
    truth = table_labels(dataset.ground_truth().read_all())
    row = 0
    for batch in predict(dataset)[0]:
        originals = truth.images(row, row + len(batch.keys))
        row += len(batch.keys)
        in_view = project(originals, batch.plan.matrices_B33, batch.plan.sizes_B2)
        np.testing.assert_allclose(batch.to_original(in_view).boxes_N4, originals.boxes_N4, atol=1e-3, rtol=0)
        for index in range(len(batch.keys)):
            one = in_view.image(index)
            for box, category in zip(one.boxes_N4, one.categories_N, strict=True):
                x, y = int((box[0] + box[2]) / 2), int((box[1] + box[3]) / 2)
                rgb = batch.view.images_BCHW[index, :, y, x].numpy() * np.array(VIEW.std) + np.array(
                    VIEW.mean
                )
                assert np.argmax(rgb) == category
    assert row == 5


def test_boxes_beyond_the_view_are_clipped_to_the_original(draw_set: DrawSet) -> None:
    (batch,) = predict(draw_set("set", 1))[0]
    back = batch.to_original(Labels.of_image([[-50, -50, 500, 500]], [0]))
    height, width = batch.original_sizes_B2[0]
    assert back.boxes_N4.tolist() == [[0, 0, width, height]]


def test_only_the_shards_asked_for_are_read(draw_set: DrawSet) -> None:
    dataset = draw_set("set", 10)
    Path(dataset.shard_path("shard-000000.tar")).unlink()
    batches, loader = predict(dataset, shards=["shard-000002.tar", "shard-000001.tar"])
    keys = dataset.images()["key"].to_pylist()
    assert keys_of(batches) == keys[8:] + keys[4:8]
    assert loader.skipped == []
    with pytest.raises(ConfigError, match=r"got 'shard-000009\.tar'"):
        PredictLoader(dataset, ["shard-000009.tar"])


def test_bad_images_and_a_missing_shard_are_skipped_by_name(draw_set: DrawSet, damage: Damage) -> None:
    dataset = draw_set("set", 12)
    keys = dataset.images()["key"].to_pylist()
    bad = [damage(dataset, 1), damage(dataset, 3)]
    Path(dataset.shard_path("shard-000001.tar")).unlink()
    batches, loader = predict(dataset)
    assert keys_of(batches) == [keys[0], keys[2], *keys[8:]]
    assert [skipped.key for skipped in loader.skipped] == [bad[0], *bad[1:], *keys[4:8]]
    assert "its bytes were changed since the set was written" in loader.skipped[0].reason
    assert "cannot be opened" in loader.skipped[2].reason
    assert loader.skipped[2].shard == "shard-000001.tar"


def test_a_shard_is_left_at_the_first_image_that_may_be_had_another_time(
    draw_set: DrawSet, damage: Damage
) -> None:
    dataset = draw_set("set", 12)
    keys = dataset.images()["key"].to_pylist()
    damage(dataset, 5)
    batches, loader = predict(dataset, whole_shards=True, batch_size=2)
    assert keys_of(batches) == [*keys[:5], *keys[8:]]
    assert [(skipped.key, skipped.lasting) for skipped in loader.skipped] == [(keys[5], False)]


def test_an_impossible_batch_size_is_refused(draw_set: DrawSet) -> None:
    with pytest.raises(ConfigError, match="batch size"):
        PredictLoader(draw_set("set", 1), batch_size=0)
