"""Training batches: repeatable, resumable to the bit, true to their labels, not stopped by bad data."""

from __future__ import annotations

import gc
import itertools
import logging
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.loaders.batch import LabelCache, TrainBatch
from pipeline.loaders.labeled import LabeledData
from pipeline.loaders.train_loader import TrainLoader
from pipeline.plans.move_boxes import project
from pipeline.samples.stream import StreamExhaustedError
from pipeline.settings import MixSettings, ViewSettings
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError, InputError, StoreError
from storage.labels import Labels
from storage.tables.label_table import table_labels
from tests.pipeline.batches import assert_true_colours, open_loader, through_a_checkpoint

DrawSet = Callable[..., Dataset]
Damage = Callable[..., str]

VIEW = ViewSettings(short_range=(32, 64), long_max=96)
MIX = MixSettings(mosaic_range=(32, 48))
SMALL: dict[str, Any] = {"batch_labeled": 2, "batch_unlabeled": 3, "view": VIEW, "mix": MIX}


def take(labeled: Dataset | None, unlabeled: Dataset | None, num: int, **more: Any) -> list[TrainBatch]:
    """The next `num` batches of a loader that is closed afterwards."""
    with open_loader(labeled, unlabeled, **(SMALL | more)) as loader:
        return list(itertools.islice(loader, num))


def content(batch: TrainBatch) -> list[bytes]:
    """Everything that a training step can see of a batch, as bytes."""
    parts: list[Any] = [batch.step]
    for view in (batch.labeled, batch.weak, batch.student, batch.mosaic):
        if view is None:
            parts.append("none")
            continue
        parts += [view.keys, view.sizes_B2, view.images_BCHW.contiguous().numpy()]
        if view.targets is not None:
            parts += [view.targets.boxes_N4, view.targets.categories_N, view.targets.offsets_B1]
    if batch.plan is not None:
        matrices = batch.plan.strong.matrices_B33
        parts += [matrices, batch.plan.weak.matrices_B33, batch.plan.mix.mixup.partner_positions_B]
        parts += [layer.patches_P4 for layer in batch.plan.mix.mixup.layers]
    return [part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode() for part in parts]


def contents(batches: list[TrainBatch]) -> list[list[bytes]]:
    return [content(batch) for batch in batches]


def test_the_same_seed_gives_the_same_bytes_whatever_the_threads(draw_set: DrawSet) -> None:
    sets = draw_set("labeled", 5, labeled=True), draw_set("unlabeled", 9, first_id=100)
    first = contents(take(*sets, 8))
    assert contents(take(*sets, 8, num_threads=3, prefetch=1)) == first
    other = contents(take(*sets, 8, seed=1))
    assert all(ours != theirs for ours, theirs in zip(first, other, strict=True))


def test_a_loader_resumed_after_any_step_goes_on_as_if_never_stopped(draw_set: DrawSet) -> None:
    # 10 unlabeled images, 3 a step: epochs end within batches; from step 4 on the ring of 8 is full.
    sets = draw_set("labeled", 5, labeled=True), draw_set("unlabeled", 10, first_id=100)
    labeled_keys = sets[0].images()["key"].to_pylist()
    more: dict[str, Any] = {
        "unlabeled_start_step": 1,
        "repeat_factors": {labeled_keys[0]: 2.5, labeled_keys[1]: 1.5},
        "num_steps": 9,
    }
    never_stopped = take(*sets, 9, **more)
    wanted = contents(never_stopped)
    assert never_stopped[3].mosaic is None
    assert never_stopped[4].mosaic is not None
    for stop in range(8):
        resume = through_a_checkpoint(never_stopped[stop].resume)
        more["repeat_factors"] = {labeled_keys[4]: 3.0}  # what the checkpoint says wins
        assert contents(take(*sets, 99, resume=resume, **more)) == wanted[stop + 1 :], f"stopped after {stop}"


def test_a_chain_of_resumed_loaders_is_a_never_stopped_one(draw_set: DrawSet) -> None:
    sets = draw_set("labeled", 3, labeled=True), draw_set("unlabeled", 4, first_id=100)
    wanted = contents(take(*sets, 7))
    resume, found = None, []
    for _ in range(7):
        (batch,) = take(*sets, 1, resume=resume)
        resume = through_a_checkpoint(batch.resume)
        found.append(content(batch))
    assert found == wanted


def test_new_repeat_factors_count_from_a_later_epoch_and_survive_a_checkpoint(draw_set: DrawSet) -> None:
    labeled = draw_set("labeled", 6, labeled=True)
    keys = labeled.images()["key"].to_pylist()
    with open_loader(labeled, None, **SMALL) as loader:
        seen = list(itertools.islice(loader, 2))
        time.sleep(0.2)  # the background is as far ahead as it can be
        epoch = loader.set_repeat_factors({keys[3]: 4.0})
        resume = through_a_checkpoint(seen[-1].resume)
        seen += itertools.islice(loader, 20)
    with open_loader(labeled, None, **SMALL) as eager:
        again = list(itertools.islice(eager, 2))
        assert eager.set_repeat_factors({keys[3]: 4.0}) == epoch == 2
        again += itertools.islice(eager, 20)
    assert contents(again) == contents(seen)
    assert contents(take(labeled, None, 20, resume=resume)) == contents(seen[2:])
    drawn = [key for batch in seen if batch.labeled for key in batch.labeled.keys]
    assert set(Counter(drawn[:12]).values()) == {2}
    for start in (12, 21, 30):
        assert Counter(drawn[start : start + 9])[keys[3]] == 4


def test_ranks_that_stand_in_other_epochs_take_up_new_factors_in_the_same_one(draw_set: DrawSet) -> None:
    labeled = draw_set("labeled", 6, labeled=True)
    keys = labeled.images()["key"].to_pylist()
    asked = []

    def agree(earliest: int) -> int:
        asked.append(earliest)
        return 5  # another rank is as far as that

    with open_loader(labeled, None, **SMALL) as loader:
        next(loader)
        assert loader.set_repeat_factors({keys[3]: 4.0}, agree=agree) == 5
        drawn = [key for batch in itertools.islice(loader, 30) if batch.labeled for key in batch.labeled.keys]
    assert asked == [2]
    assert Counter(drawn)[keys[3]] > Counter(drawn)[keys[2]]
    assert set(Counter(drawn[4:28]).values()) == {4}  # epochs 1 to 4


def test_an_epoch_that_bad_images_brought_forward_is_not_changed(draw_set: DrawSet, damage: Damage) -> None:
    labeled = draw_set("labeled", 6, labeled=True)
    rows = {key: row for row, key in enumerate(labeled.images()["key"].to_pylist())}
    one: dict[str, Any] = {"batch_labeled": 1}
    order = [batch.labeled.keys[0] for batch in take(labeled, None, 6, **one) if batch.labeled]
    for key in order[1:5]:
        damage(labeled, rows[key])
    with open_loader(labeled, None, prefetch=2, **(SMALL | one)) as loader:
        assert next(loader).num_unreadable == {"labeled": 0}
        while loader.waiting() < 2:  # the last image of epoch 0, and one of epoch 1
            time.sleep(0.01)
        assert loader.set_repeat_factors({order[0]: 3.0}) == 2
        drawn = [batch.labeled.keys[0] for batch in itertools.islice(loader, 7) if batch.labeled]
    assert sorted(drawn[1:3]) == sorted([order[0], order[5]])
    assert Counter(drawn[3:7]) == {order[0]: 3, order[5]: 1}


@pytest.mark.parametrize("weights", [(0.9, 0.1), (0.1, 0.9)])
def test_labels_follow_their_pixels_through_views_cache_mixup_and_mosaic(
    draw_set: DrawSet, weights: tuple[float, float]
) -> None:
    labeled = draw_set("labeled", 6, labeled=True)
    pool = draw_set("pool", 12, labeled=True, first_id=100)  # labeled, so that the test knows the truth
    table = pool.ground_truth().read_all()
    rows = {key: row for row, key in enumerate(table["key"].to_pylist())}
    truth = table_labels(table)
    view = ViewSettings(short_range=(40, 64), long_max=96, colour_ops=(), geometric_ops=())
    mix = MixSettings(mosaic_range=(40, 64), erase=False, weights=weights)
    cache = LabelCache(mix.capacity(3))
    mixed = 0
    for batch in take(labeled, pool, 7, view=view, mix=mix):
        assert batch.labeled
        assert batch.labeled.targets is not None
        assert batch.student
        assert batch.plan
        assert_true_colours(batch.labeled, VIEW, batch.labeled.targets)
        originals = Labels.concatenate([truth.image(rows[key]) for key in batch.plan.keys])
        weak = project(originals, batch.plan.weak.matrices_B33, batch.plan.weak.sizes_B2)
        back = batch.plan.original_labels(weak)
        np.testing.assert_allclose(back.boxes_N4, originals.boxes_N4, atol=1e-3, rtol=0)
        strong = batch.plan.strong_labels(weak)
        student = batch.plan.student_labels(strong, cache)
        if batch.mosaic is None:
            assert_true_colours(batch.student, VIEW, student)
        else:
            mixed += 1
            both = np.concatenate([[True] * 2 + [False] * 2] * 3)  # two boxes of ours, two of the partner's
            assert_true_colours(batch.student, VIEW, student.keep(both if weights[0] > 0.5 else ~both))
            mosaic = batch.plan.mosaic_labels(cache)
            assert mosaic.counts().tolist() == [8]
            assert_true_colours(batch.mosaic, VIEW, mosaic)
        cache.push(strong)
    assert mixed == 4


def test_images_that_teach_nothing_are_left_out_and_counted(
    draw_set: DrawSet, caplog: pytest.LogCaptureFixture
) -> None:
    labeled = draw_set("labeled", 6, labeled=True, empty=frozenset({0, 4}), tiny=frozenset({1}))
    keys = labeled.images()["key"].to_pylist()
    with caplog.at_level(logging.INFO), open_loader(labeled, None, **SMALL) as loader:
        drawn = Counter(
            key for batch in itertools.islice(loader, 6) if batch.labeled for key in batch.labeled.keys
        )
        assert loader.left_out == {"without boxes": 2, "smaller than 32 px": 1}
    assert drawn == {keys[2]: 4, keys[3]: 4, keys[5]: 4}
    assert "2 without boxes, 1 smaller than 32 px" in caplog.text
    (batch,) = take(labeled, None, 1, min_side=1, batch_labeled=4)
    assert batch.labeled
    assert set(batch.labeled.keys) == {keys[1], keys[2], keys[3], keys[5]}


def test_a_labeled_set_with_nothing_to_learn_is_refused(draw_set: DrawSet) -> None:
    with pytest.raises(StoreError, match="of 2 images, 2 without boxes"):
        open_loader(draw_set("labeled", 2, labeled=True, empty=frozenset({0, 1})), None)


def test_a_single_class_one_image_and_fewer_images_than_a_batch_work(draw_set: DrawSet) -> None:
    labeled = draw_set("labeled", 4, labeled=True, classes=1)
    one = draw_set("one", 1, first_id=100)
    key = one.images()["key"][0].as_py()
    batches = take(labeled, one, 6, batch_labeled=7)
    assert len(batches) == 6
    for batch in batches:
        assert batch.labeled
        assert batch.labeled.targets is not None
        assert batch.weak
        assert len(batch.labeled.keys) == 7
        assert set(batch.labeled.targets.categories_N.tolist()) == {0}
        assert batch.weak.keys == (key,) * 3
    assert batches[-1].mosaic is not None


def test_burn_in_draws_no_unlabeled_image_and_changes_no_labeled_one(draw_set: DrawSet) -> None:
    sets = draw_set("labeled", 5, labeled=True), draw_set("unlabeled", 9, first_id=100)
    at_once, later = take(*sets, 5), take(*sets, 5, unlabeled_start_step=2)
    assert [batch.weak is None for batch in later] == [True, True, False, False, False]
    assert [batch.plan is None for batch in later] == [True, True, False, False, False]
    for ours, theirs in zip(at_once, later, strict=True):
        assert ours.labeled
        assert theirs.labeled
        assert torch.equal(ours.labeled.images_BCHW, theirs.labeled.images_BCHW)
    assert at_once[0].weak
    assert later[2].weak
    assert at_once[0].weak.keys == later[2].weak.keys


def test_without_mixing_the_student_sees_the_erased_strong_views_alone(draw_set: DrawSet) -> None:
    mix = MixSettings(mixup=False, mosaic=False)
    unlabeled = draw_set("unlabeled", 9)
    for batch in take(None, unlabeled, 6, mix=mix):
        assert batch.labeled is None
        assert batch.mosaic is None
        assert batch.student
        assert batch.weak
        assert batch.plan
        assert batch.student.keys == batch.weak.keys
        assert batch.resume["unlabeled"]["refill"] == []
        assert batch.student.sizes_B2 == [tuple(size) for size in batch.plan.strong.sizes_B2.tolist()]


def test_training_data_does_not_depend_on_the_hidden_truth(draw_set: DrawSet) -> None:
    sets = draw_set("labeled", 4, labeled=True), draw_set("unlabeled", 8, first_id=100, hidden=True)
    with_truth = contents(take(*sets, 6))
    shutil.rmtree(Path(sets[1].root) / "hidden_truth")
    assert contents(take(Dataset.open(sets[0].root), Dataset.open(sets[1].root), 6)) == with_truth


def test_bad_images_are_named_counted_and_replaced_by_the_next_of_the_stream(
    draw_set: DrawSet, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    sets = draw_set("labeled", 5, labeled=True), draw_set("unlabeled", 10, first_id=100)
    bad = [damage(sets[1], 2), damage(sets[1], 7)]
    bad_labeled = damage(sets[0], 1)
    with open_loader(*sets, **SMALL) as loader:
        batches = list(itertools.islice(loader, 10))
        assert set(loader.unreadable("unlabeled")) == set(bad)
        assert set(loader.unreadable("labeled")) == {bad_labeled}
    assert batches[-1].num_unreadable == {"labeled": 1, "unlabeled": 2}
    drawn = Counter(key for batch in batches if batch.weak for key in batch.weak.keys)
    assert len(drawn) == 8
    assert not set(bad) & set(drawn)
    for key in bad:
        (line,) = [record.getMessage() for record in caplog.records if key in record.getMessage()]
        assert "cannot be decoded (nvImageCodec failure" in line
        assert "shard-00000" in line
    # Resumed before or after they were found: the same batches.
    for stop in (0, 2, 5):
        resume = through_a_checkpoint(batches[stop].resume)
        assert contents(take(*sets, 9 - stop, resume=resume)) == contents(batches[stop + 1 :])


@pytest.mark.parametrize("check_bytes", [False, True])
def test_changed_bytes_that_still_decode_are_set_aside_where_bytes_are_checked(
    draw_set: DrawSet, check_bytes: bool
) -> None:
    dataset = draw_set("set", 6, labeled=True)
    image = dataset.images().to_pylist()[1]
    with Path(dataset.shard_path(image["shard"])).open("r+b") as tar:
        tar.seek(image["offset"] + image["size"] - 1)  # of the checksum of IEND, which no decoder looks at
        tar.write(b"?")
    labeled = LabeledData(dataset=dataset, batch_size=2, check_bytes=check_bytes)
    with TrainLoader(labeled, None, view=VIEW, num_steps=6) as loader:
        drawn = {key for batch in loader if batch.labeled for key in batch.labeled.keys}
        reasons = loader.unreadable("labeled")
    assert (image["key"] in drawn) is not check_bytes
    assert [*reasons] == ([image["key"]] if check_bytes else [])
    assert all("its bytes were changed since the set was written" in reason for reason in reasons.values())


def test_a_missing_shard_costs_its_images_and_one_line_of_the_log(
    draw_set: DrawSet, caplog: pytest.LogCaptureFixture
) -> None:
    unlabeled = draw_set("unlabeled", 12)
    gone = Path(unlabeled.shard_path("shard-000001.tar"))
    gone.unlink()
    batches = take(None, unlabeled, 8)
    assert batches[-1].num_unreadable == {"unlabeled": 4}
    drawn = {key for batch in batches if batch.weak for key in batch.weak.keys}
    keys = unlabeled.images()["key"].to_pylist()
    assert drawn == set(keys) - set(keys[4:8])
    (line,) = [record.getMessage() for record in caplog.records]
    assert str(gone) in line
    assert "3 more images" in line


def test_an_image_lost_while_stopped_lets_mixing_start_anew(
    draw_set: DrawSet, caplog: pytest.LogCaptureFixture
) -> None:
    unlabeled = draw_set("unlabeled", 12, per_shard=1)
    batches = take(None, unlabeled, 6)
    assert batches[-1].weak
    lost = batches[-1].resume["unlabeled"]["refill"][-1][1][0]
    Path(unlabeled.shard_path(f"shard-{lost:06d}.tar")).unlink()
    resumed = take(None, unlabeled, 4, resume=batches[-1].resume)
    assert [batch.mosaic is None for batch in resumed] == [True, True, True, False]
    assert "mixing starts anew" in caplog.text
    # What the ring held before is forgotten, or the next resume would fill it with more than is in it.
    assert [len(batch.resume["unlabeled"]["refill"]) for batch in resumed] == [1, 2, 3, 3]


def test_a_set_without_a_readable_image_ends_with_an_error(draw_set: DrawSet, damage: Damage) -> None:
    unlabeled = draw_set("unlabeled", 3)
    for row in range(3):
        damage(unlabeled, row)
    with (
        open_loader(None, unlabeled, **SMALL) as loader,
        pytest.raises(StreamExhaustedError, match="none of the 3 images"),
    ):
        next(loader)


def test_the_ranks_of_a_world_share_each_epoch(draw_set: DrawSet) -> None:
    labeled = draw_set("labeled", 7, labeled=True)
    keys: list[str] = []
    for rank in range(2):
        for batch in take(labeled, None, 4, batch_labeled=1, rank=rank, world=2):
            assert batch.labeled
            keys += batch.labeled.keys
    assert len(keys) == 8
    assert set(keys) == set(labeled.images()["key"].to_pylist())


def test_the_ranks_of_a_world_draw_other_views_of_the_same_image(draw_set: DrawSet) -> None:
    sets = draw_set("labeled", 1, labeled=True), draw_set("unlabeled", 1, first_id=100)
    first, second = (take(*sets, 1, rank=rank, world=2, batch_labeled=1)[0] for rank in range(2))
    assert first.plan is not None
    assert second.plan is not None
    assert not np.array_equal(first.plan.weak.matrices_B33, second.plan.weak.matrices_B33)
    assert not np.array_equal(first.plan.strong.matrices_B33, second.plan.strong.matrices_B33)
    assert first.labeled is not None
    assert second.labeled is not None
    assert first.labeled.sizes_B2 != second.labeled.sizes_B2


def test_the_loader_ends_before_num_steps_and_times_its_work(draw_set: DrawSet) -> None:
    labeled = draw_set("labeled", 5, labeled=True)
    batches = take(labeled, None, 99, num_steps=3)
    assert [batch.step for batch in batches] == [0, 1, 2]
    assert set(batches[0].timings) == {"read", "views", "mix", "blocked", "wait"}
    assert batches[0].timings["views"] > 0
    assert take(labeled, None, 99, num_steps=3, resume=batches[-1].resume) == []


def test_a_consumer_that_fails_or_forgets_leaves_no_thread(draw_set: DrawSet) -> None:
    unlabeled = draw_set("unlabeled", 9)

    def fails() -> None:
        with open_loader(None, unlabeled, **SMALL) as loader:
            next(loader)
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fails()
    forgotten = open_loader(None, unlabeled, **SMALL)
    next(forgotten)
    del forgotten
    gc.collect()
    assert "train-loader" not in [thread.name for thread in threading.enumerate()]
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 5}, "expected seed 5, got 0"),
        ({"rank": 1, "world": 2}, "expected rank 1"),
        ({"batch_unlabeled": 4}, "another batch_size"),
        ({"labeled": None}, "labeled images False, got True"),
        ({"unlabeled": "other"}, "another dataset"),
    ],
)
def test_a_position_of_another_run_is_refused(
    draw_set: DrawSet, change: dict[str, Any], message: str
) -> None:
    sets: dict[str, Any] = {
        "labeled": draw_set("labeled", 3, labeled=True),
        "unlabeled": draw_set("unlabeled", 3, first_id=100),
    }
    resume = take(**sets, num=1)[0].resume
    if change.get("unlabeled") == "other":
        change = {"unlabeled": draw_set("other", 4, first_id=200)}
    with pytest.raises(InputError, match=message):
        take(**(sets | {"num": 1, "resume": resume} | change))


def test_a_position_in_other_shards_or_other_labels_of_the_same_images_is_refused(draw_set: DrawSet) -> None:
    labeled = draw_set("labeled", 6, labeled=True)
    resume = take(labeled, None, 1)[0].resume
    for other in (
        draw_set("resharded", 6, labeled=True, per_shard=3),
        draw_set("relabeled", 6, labeled=True, classes=2),
    ):
        assert other.hash == labeled.hash
        with pytest.raises(StoreError, match="another dataset"):
            take(other, None, 1, resume=resume)


def test_impossible_loaders_are_refused(draw_set: DrawSet) -> None:
    labeled = draw_set("labeled", 2, labeled=True)
    with pytest.raises(ConfigError, match="got neither"):
        open_loader(None, None)
    with pytest.raises(ConfigError, match="batch sizes"):
        open_loader(labeled, None, batch_labeled=0)
    with pytest.raises(StoreError, match="does not hold"):
        open_loader(labeled, None, repeat_factors={"stranger": 2.0})
    with pytest.raises(InputError, match="without ground truth"):
        open_loader(draw_set("unlabeled", 2, first_id=100), None)


def test_a_loader_that_starts_at_a_step_makes_the_batches_of_a_whole_run_once_its_cache_is_full(
    draw_set: DrawSet,
) -> None:
    labeled, unlabeled = draw_set("labeled", 7, labeled=True), draw_set("unlabeled", 11, first_id=100)
    settings: dict[str, Any] = {"unlabeled_start_step": 2, "repeat_factors": {"000000000001": 2.5}}
    whole = contents(take(labeled, unlabeled, 14, **settings))
    full = -(-MIX.capacity(3) // 3)
    for start in (0, 1, 4, 9):
        later = contents(take(labeled, unlabeled, 14 - start, start_step=start, **settings))
        unmixed = full if start > 2 else 0  # before the burn-in ends nothing was cached
        assert later[unmixed:] == whole[start + unmixed :]
        assert (later == whole[start:]) == (unmixed == 0)
