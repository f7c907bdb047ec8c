"""Stored labels: where the teacher's would lie, the same after a resume, and nothing taken for granted."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.loaders.batch import LabelCache, TrainBatch
from pipeline.loaders.stored_labels import StoredLabels
from pipeline.plans.move_boxes import project
from pipeline.settings import MixSettings, ViewSettings
from storage.dataset.dataset import Dataset
from storage.errors import StoreError
from storage.labels import Labels
from storage.rounds.compaction import compact
from storage.rounds.round import Round, open_round, round_path
from storage.tables.label_table import table_labels
from tests.pipeline.batches import assert_true_colours, open_loader, through_a_checkpoint
from tests.rounds import round_info

DrawSet = Callable[..., Dataset]

VIEW = ViewSettings(short_range=(40, 64), long_max=96)
REFERENCE = replace(VIEW, interpolation="reference")
MIX = MixSettings(mosaic_range=(40, 64))
CLASSES = ("red", "green", "blue")
BATCH = 3


def write_round(
    dataset: Dataset,
    folder: Path | str,
    *,
    number: int = 1,
    without_rows: frozenset[str] = frozenset(),
    without_shards: frozenset[str] = frozenset(),
    finish: bool = True,
    score: float = 1.0,
    classes: tuple[str, ...] = CLASSES,
) -> Round:
    """Store the truth of a labeled set as a teacher's round, every second box of each image with half the score."""
    round_ = open_round(round_path(str(folder), number))
    provenance = {"dataset": dataset.name, "dataset_hash": dataset.hash, "weights_hash": f"weights {number}"}
    assert round_.begin({"provenance": provenance, "score_threshold": 0.6})
    store, num_images, num_boxes = round_.labels(), 0, 0
    for shard in dataset.shards:
        stem = shard.removesuffix(".tar")
        if stem in without_shards:
            continue
        table = dataset.ground_truth().read(stem)
        rows = [row for row, key in enumerate(table["key"].to_pylist()) if key not in without_rows]
        table = table.take(pa.array(rows, pa.int64())).drop_columns(
            ["areas", "crowd_boxes", "crowd_categories"]
        )
        weak = [[score / (1 + place % 2) for place in range(len(one))] for one in table["scores"].to_pylist()]
        column = table.schema.get_field_index("scores")
        table = table.set_column(column, "scores", pa.array(weak, table.schema.field("scores").type))
        store.write(stem, table.replace_schema_metadata(None), provenance)
        num_images, num_boxes = num_images + len(table), num_boxes + sum(map(len, weak))
    if not finish:
        return round_
    return round_.finish(
        round_info(
            dataset,
            number=number,
            classes=classes,
            score_threshold=0.6,
            num_images=num_images,
            num_boxes=num_boxes,
            provenance=provenance,
        )
    )


def stored(dataset: Dataset, round_: Round, **more: Any) -> StoredLabels:
    return StoredLabels(dataset, round_, **({"classes": CLASSES} | more))


def take(dataset: Dataset, num: int, **more: Any) -> list[TrainBatch]:
    settings: dict[str, Any] = {"batch_unlabeled": BATCH, "view": VIEW, "mix": MIX}
    with open_loader(None, dataset, **(settings | more)) as loader:
        return list(itertools.islice(loader, num))


def content(batch: TrainBatch) -> list[bytes]:
    """Everything that a step sees of a batch of unlabeled images, as bytes."""
    parts: list[Any] = [batch.step, batch.thresholds_C]
    labels = [batch.cached]
    for view in (batch.weak, batch.student, batch.mosaic):
        parts += ["none"] if view is None else [view.keys, view.images_BCHW.contiguous().numpy()]
        labels.append(None if view is None else view.targets)
    for one in labels:
        parts += [one] if one is None else [one.boxes_N4, one.categories_N, one.scores_N, one.offsets_B1]
    return [part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode() for part in parts]


class Oracle:
    """A trainer's side of a step, with a teacher that says on the weak view what the round says."""

    def __init__(self, labels: StoredLabels, dataset: Dataset) -> None:
        self._labels, self.cache = labels, LabelCache(MIX.capacity(BATCH))
        self._rows = {key: row for row, key in enumerate(dataset.images()["key"].to_pylist())}

    def targets(self, batch: TrainBatch) -> tuple[Labels, Labels | None]:
        """Return the labels of the student's view and of the mosaic."""
        plan = batch.plan
        assert plan is not None
        if batch.cached is not None:
            self.cache.push(batch.cached)
        originals = self._labels.labels_of(np.array([self._rows[key] for key in plan.keys]))
        strong = plan.strong_labels(project(originals, plan.weak.matrices_B33, plan.weak.sizes_B2))
        student = plan.student_labels(strong, self.cache)
        mosaic = None if batch.mosaic is None else plan.mosaic_labels(self.cache)
        self.cache.push(strong)
        return student, mosaic


def assert_alike(found: Labels | None, wanted: Labels | None) -> None:
    assert (found is None) == (wanted is None)
    if found is not None and wanted is not None:
        np.testing.assert_array_equal(found.offsets_B1, wanted.offsets_B1)
        np.testing.assert_array_equal(found.categories_N, wanted.categories_N)
        np.testing.assert_array_equal(found.scores_N, wanted.scores_N)
        np.testing.assert_allclose(found.boxes_N4, wanted.boxes_N4, atol=1e-4)


@pytest.mark.parametrize("view", [VIEW, REFERENCE], ids=lambda view: view.interpolation)
def test_targets_lie_where_a_teacher_of_the_same_labels_would_put_them(
    draw_set: DrawSet, tmp_path: Path, view: ViewSettings
) -> None:
    pool = draw_set("pool", 12, labeled=True)
    labels = stored(pool, write_round(pool, tmp_path))
    by_teacher, by_round = take(pool, 7, view=view), take(pool, 7, view=view, labels=labels)
    oracle, boxes = Oracle(labels, pool), 0
    for online, batch in zip(by_teacher, by_round, strict=True):
        student, mosaic = oracle.targets(online)
        assert batch.student is not None
        assert online.student is not None
        assert_alike(batch.student.targets, student)
        assert_alike(None if batch.mosaic is None else batch.mosaic.targets, mosaic)
        boxes += len(student.boxes_N4)
        assert batch.weak is None
        assert batch.thresholds_C is not None
        assert batch.thresholds_C.tolist() == [0.6] * 3
        assert torch.equal(batch.student.images_BCHW, online.student.images_BCHW)
        assert batch.student.keys == online.student.keys
    assert by_round[-1].mosaic is not None
    assert boxes > 60


def test_stored_boxes_frame_their_objects_in_the_mixed_images(draw_set: DrawSet, tmp_path: Path) -> None:
    pool = draw_set("pool", 12, labeled=True)
    view = ViewSettings(short_range=(40, 64), long_max=96, colour_ops=(), geometric_ops=())
    mix = MixSettings(mosaic_range=(40, 64), erase=False, weights=(0.9, 0.1))
    labels = stored(pool, write_round(pool, tmp_path))
    for batch in take(pool, 7, view=view, mix=mix, labels=labels)[3:]:
        assert batch.student is not None
        assert batch.student.targets is not None
        assert batch.mosaic is not None
        assert batch.mosaic.targets is not None
        ours = np.concatenate([[True] * 2 + [False] * 2] * BATCH)  # the faint partner's boxes come after ours
        assert len(batch.student.targets.boxes_N4) >= 4 * BATCH
        assert_true_colours(batch.student, VIEW, batch.student.targets.keep(ours))
        assert_true_colours(batch.mosaic, VIEW, batch.mosaic.targets)


def test_the_teacher_takes_over_with_the_labels_of_the_cached_views(
    draw_set: DrawSet, tmp_path: Path
) -> None:
    pool = draw_set("pool", 12, labeled=True)
    labels = stored(pool, write_round(pool, tmp_path))
    by_round, mixed = take(pool, 8, labels=labels), take(pool, 8, labels=labels, labels_until=5)
    assert [batch.weak is None for batch in mixed] == [True] * 5 + [False] * 3
    assert [batch.cached is None for batch in mixed] == [True] * 5 + [False] + [True] * 2
    assert [content(batch) for batch in mixed[:5]] == [content(batch) for batch in by_round[:5]]
    oracle = Oracle(labels, pool)
    for batch, wanted in zip(mixed[5:], by_round[5:], strict=True):
        student, mosaic = oracle.targets(batch)
        assert batch.thresholds_C is None
        assert batch.student is not None
        assert batch.student.targets is None
        assert wanted.student is not None
        assert wanted.mosaic is not None
        assert_alike(student, wanted.student.targets)
        assert_alike(mosaic, wanted.mosaic.targets)
        assert torch.equal(batch.student.images_BCHW, wanted.student.images_BCHW)


def test_labels_and_pixels_stay_in_step_where_a_cached_image_is_lost_before_the_switch(
    draw_set: DrawSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pool = draw_set("pool", 12, labeled=True, per_shard=1)
    labels = stored(pool, write_round(pool, tmp_path))
    resume = take(pool, 4, labels=labels)[-1].resume
    lost = resume["unlabeled"]["refill"][-1][1][0]
    Path(pool.shard_path(f"shard-{lost:06d}.tar")).unlink()
    by_round = take(pool, 5, labels=labels, resume=resume)
    mixed = take(pool, 5, labels=labels, resume=resume, labels_until=5)
    assert "mixing starts anew" in caplog.text
    assert [batch.mosaic is None for batch in mixed] == [True] * 3 + [False] * 2
    oracle = Oracle(labels, pool)
    for batch, wanted in zip(mixed[1:], by_round[1:], strict=True):
        student, mosaic = oracle.targets(batch)
        assert wanted.student is not None
        assert_alike(student, wanted.student.targets)
        assert_alike(mosaic, None if wanted.mosaic is None else wanted.mosaic.targets)


@pytest.mark.parametrize(("until", "view"), [(None, VIEW), (5, REFERENCE)])
def test_a_resumed_loader_goes_on_as_if_never_stopped(
    draw_set: DrawSet, tmp_path: Path, until: int | None, view: ViewSettings
) -> None:
    pool = draw_set("pool", 10, labeled=True)
    round_ = write_round(pool, tmp_path)
    more: dict[str, Any] = {"labels_until": until, "num_steps": 8, "unlabeled_start_step": 1, "view": view}
    never_stopped = take(pool, 99, labels=stored(pool, round_), **more)
    wanted = [content(batch) for batch in never_stopped]
    for stop in range(7):
        resume = through_a_checkpoint(never_stopped[stop].resume)
        again = take(pool, 99, labels=stored(pool, round_), resume=resume, **more)
        assert [content(batch) for batch in again] == wanted[stop + 1 :], f"stopped after {stop}"


def test_few_tables_in_memory_and_compacted_ones_give_the_same_batches(
    draw_set: DrawSet, tmp_path: Path
) -> None:
    pool = draw_set("pool", 14, labeled=True)
    round_ = write_round(pool, tmp_path)
    before = take(pool, 6, labels=stored(pool, round_))
    wanted = [content(batch) for batch in before]
    small = stored(pool, round_, memory=1)
    assert [content(batch) for batch in take(pool, 6, labels=small)] == wanted
    assert len(small._held) == 1
    compacted = compact(
        round_, table_bytes=1 + Path(f"{round_.path}/shard-000000.parquet").stat().st_size
    ).round
    assert compacted.compacted is not None
    assert len(compacted.compacted) > 1
    assert [content(batch) for batch in take(pool, 6, labels=stored(pool, compacted))] == wanted
    resumed = take(pool, 3, labels=stored(pool, compacted), resume=before[2].resume)
    assert [content(batch) for batch in resumed] == wanted[3:]


def test_a_round_at_a_url_gives_the_same_batches(draw_set: DrawSet, tmp_path: Path) -> None:
    pool = draw_set("pool", 8, labeled=True)
    local, remote = write_round(pool, tmp_path), write_round(pool, f"memory://{tmp_path.name}")
    batches = [take(pool, 4, labels=stored(pool, open_round(one.path))) for one in (local, remote)]
    assert remote.path.startswith("memory://")
    assert [content(batch) for batch in batches[0]] == [content(batch) for batch in batches[1]]


def test_a_round_that_is_compacted_while_training_is_followed(draw_set: DrawSet, tmp_path: Path) -> None:
    pool = draw_set("pool", 12, labeled=True)
    round_ = write_round(pool, tmp_path)
    labels, rows = stored(pool, round_, memory=1), np.arange(12)
    wanted = labels.labels_of(rows).boxes_N4
    compact(round_)
    np.testing.assert_array_equal(labels.labels_of(rows).boxes_N4, wanted)


def test_empty_is_labeled_and_an_image_without_a_row_is_left_out_and_counted(
    draw_set: DrawSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pool = draw_set("pool", 8, labeled=True, empty=frozenset({1}))
    keys = pool.images()["key"].to_pylist()
    round_ = write_round(pool, tmp_path, without_rows=frozenset({keys[4]}))
    with caplog.at_level(logging.INFO):
        labels = stored(pool, round_)
    assert labels.rows.tolist() == [0, 1, 2, 3, 5, 6, 7]
    assert labels.left_out == {"in shards without a label table": 0, "without a row in the round": 1}
    assert "7 images with labels, left out: 1 without a row in the round" in caplog.text
    assert labels.labels_of(np.array([1, 0])).counts().tolist() == [0, 2]
    with open_loader(None, pool, batch_unlabeled=7, view=VIEW, mix=MIX, labels=labels) as loader:
        assert loader.left_out == labels.left_out
        (plan,) = (batch.plan for batch in itertools.islice(loader, 1))
    assert plan is not None
    assert sorted(plan.keys) == [key for key in keys if key != keys[4]]


def test_a_shard_without_labels_is_refused_by_name_and_left_out_when_partial(
    draw_set: DrawSet, tmp_path: Path
) -> None:
    pool = draw_set("pool", 12, labeled=True)
    round_ = write_round(pool, tmp_path)
    lost = Path(round_.path) / "shard-000001.parquet"
    lost.unlink()
    with pytest.raises(StoreError, match=r"got none for 1, the first is shard-000001: .*round=0001"):
        stored(pool, round_)
    partial = stored(pool, round_, partial=True)
    assert partial.rows.tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert partial.left_out == {"in shards without a label table": 4, "without a row in the round": 0}
    keys = pool.images()["key"].to_pylist()
    drawn = {key for batch in take(pool, 6, labels=partial) if batch.plan for key in batch.plan.keys}
    assert drawn == {*keys[:4], *keys[8:]}


def test_a_round_that_is_still_being_labeled_is_taken_when_partial(draw_set: DrawSet, tmp_path: Path) -> None:
    pool = draw_set("pool", 8, labeled=True)
    round_ = write_round(pool, tmp_path, without_shards=frozenset({"shard-000000"}), finish=False)
    with pytest.raises(StoreError, match=r"expected a complete round, got an incomplete one: .*round=0001"):
        stored(pool, round_)
    labels = stored(pool, round_, partial=True)
    assert labels.rows.tolist() == [4, 5, 6, 7]
    assert labels.thresholds_C.tolist() == [0.6] * 3
    with pytest.raises(StoreError, match="one that nobody began"):
        stored(pool, open_round(round_path(str(tmp_path), 9)), partial=True)


def test_a_round_of_other_images_classes_or_shards_is_refused(draw_set: DrawSet, tmp_path: Path) -> None:
    pool = draw_set("pool", 8, labeled=True)
    round_ = write_round(pool, tmp_path)
    other = draw_set("other", 8, labeled=True, first_id=50)
    with pytest.raises(StoreError, match=r"expected labels of .*other \(hash \w+\), got those of .*pool"):
        stored(other, round_)
    with pytest.raises(StoreError, match="expected labels of the classes red, green, got red, green, blue"):
        stored(pool, round_, classes=("red", "green"))
    for per_shard in (3, 8):
        packed_anew = draw_set(f"packed-{per_shard}", 8, labeled=True, per_shard=per_shard)
        assert packed_anew.hash == pool.hash
        with pytest.raises(StoreError, match=r"expected a label table (a shard|for each of 3 shards)"):
            stored(packed_anew, round_)


def test_a_round_without_a_single_label_row_is_refused(draw_set: DrawSet, tmp_path: Path) -> None:
    pool = draw_set("pool", 3, labeled=True)
    round_ = write_round(pool, tmp_path, without_rows=frozenset(pool.images()["key"].to_pylist()))
    with pytest.raises(StoreError, match=r"no image has labels .*3 without a row"):
        stored(pool, round_)


def zero_the_pages(path: Path) -> None:
    """Damage what only reading the columns finds."""
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + bytes(300) + whole[304:])


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(b"PAR1 cut short"), zero_the_pages]
)
def test_labels_lost_while_training_cost_their_images_and_one_line_of_the_log(
    draw_set: DrawSet, tmp_path: Path, damage: Callable[[Path], Any], caplog: pytest.LogCaptureFixture
) -> None:
    pool = draw_set("pool", 12, labeled=True)
    round_ = write_round(pool, tmp_path)
    labels = stored(pool, round_)
    lost = Path(round_.path) / "shard-000001.parquet"
    damage(lost)
    keys = pool.images()["key"].to_pylist()
    with open_loader(None, pool, batch_unlabeled=BATCH, view=VIEW, mix=MIX, labels=labels) as loader:
        batches = list(itertools.islice(loader, 8))
        why = loader.unreadable("unlabeled")
    assert sorted(why) == keys[4:8]
    assert all("its labels are lost" in reason for reason in why.values())
    assert batches[-1].num_unreadable == {"unlabeled": 4}
    assert {key for batch in batches if batch.plan for key in batch.plan.keys} == {*keys[:4], *keys[8:]}
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert str(lost) in line
    assert "and 3 more images of it: its labels are lost" in line
    # Whether the loss was known before or not, the same batches come next.
    again = take(pool, 5, labels=labels, resume=batches[2].resume)
    assert [content(batch) for batch in again] == [content(batch) for batch in batches[3:]]


def test_an_image_is_counted_as_left_out_or_as_lost_and_never_as_both(
    draw_set: DrawSet, tmp_path: Path
) -> None:
    pool = draw_set("pool", 12, labeled=True)
    keys = pool.images()["key"].to_pylist()
    labels = stored(pool, write_round(pool, tmp_path, without_rows=frozenset({keys[5]})))
    (Path(labels.name) / "shard-000001.parquet").unlink()
    with open_loader(None, pool, batch_unlabeled=BATCH, view=VIEW, mix=MIX, labels=labels) as loader:
        batches = list(itertools.islice(loader, 8))
        assert sum(loader.left_out.values()) == 1
    assert batches[-1].num_unreadable == {"unlabeled": 3}


def test_a_process_without_file_handles_left_blames_no_labels(draw_set: DrawSet, tmp_path: Path) -> None:
    pool = draw_set("pool", 4, labeled=True)
    labels = stored(pool, write_round(pool, tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208  (a Path is not a number)
    spare = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                spare.append(os.open("/dev/null", os.O_RDONLY))
        with pytest.raises(OSError, match="Too many open files"):
            labels.labels_of(np.array([0]))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for handle in spare:
            os.close(handle)
    assert len(labels.labels_of(np.array([0]))) == 1


def test_other_labels_of_the_same_images_are_refused_by_name_on_resume(
    draw_set: DrawSet, tmp_path: Path
) -> None:
    pool = draw_set("pool", 6, labeled=True)
    first, second = (stored(pool, write_round(pool, tmp_path, number=number)) for number in (1, 2))
    resume = take(pool, 1, labels=first)[0].resume
    with pytest.raises(StoreError, match=r"expected labels of .*round=0001, .* got .*round=0002, with other"):
        take(pool, 1, labels=second, resume=resume)
    with pytest.raises(StoreError, match=r"expected labels of .*round=0001, .* got none"):
        take(pool, 1, resume=resume)
    with pytest.raises(StoreError, match=r"expected labels of no round, .* got .*round=0002"):
        take(pool, 1, labels=second, resume=take(pool, 1)[0].resume)


def test_plain_self_training_mixes_nothing(draw_set: DrawSet, tmp_path: Path) -> None:
    pool = draw_set("pool", 6, labeled=True)
    labels = stored(pool, write_round(pool, tmp_path))
    table = pool.ground_truth().read_all()
    truth, rows = table_labels(table), {key: row for row, key in enumerate(table["key"].to_pylist())}
    mix = MixSettings(mixup=False, mosaic=False, erase=False)
    for batch in take(pool, 4, mix=mix, labels=labels, labels_until=3):
        assert batch.plan is not None
        assert batch.student is not None
        assert batch.student.keys == batch.plan.keys
        if batch.step < 3:
            originals = Labels.concatenate([truth.image(rows[key]) for key in batch.plan.keys])
            strong = project(originals, batch.plan.strong.matrices_B33, batch.plan.strong.sizes_B2)
            assert batch.student.targets is not None
            np.testing.assert_array_equal(batch.student.targets.boxes_N4, strong.boxes_N4)
        else:
            assert batch.cached is not None
            assert len(batch.cached) == 0
