"""What is advised follows from the figures alone."""

from __future__ import annotations

from dataclasses import replace

from jobs.console.profile_advice import Figures, TrainedSteps, advise

PARTS = {
    "read": 1.0, "decode": 20.0, "weak view": 30.0, "strong view": 30.0, "labeled view": 10.0, "mixup": 60.0,
    "mosaic": 20.0, "boxes": 0.2,
}  # fmt: skip
FIGURES = Figures(
    parts_ms=PARTS,
    batch_ms=176.0,
    images_a_batch=5,
    cpu_ms_an_image=35.0,
    resident_mib=(900.0, 905.0),
    device_mib=None,
    threads=1,
    prefetch=2,
    short_range=(400, 1200),
    cores=8,
    device="cpu",
)


def trained(*, step: float, wait: float, depths: tuple[int, ...] = (0, 0, 0, 1)) -> Figures:
    return replace(FIGURES, trained=TrainedSteps(step_ms=step, wait_ms=wait, depths=depths))


def test_without_a_model_the_time_that_hides_a_batch_and_its_largest_part_are_named() -> None:
    (said,) = advise(FIGURES)
    assert "176 ms" in said
    assert "mixup" in said
    assert "--model" in said


def test_a_model_that_hardly_waits_needs_no_change() -> None:
    (said,) = advise(trained(step=900.0, wait=2.0))
    assert "waits 0.2 % of a step" in said
    assert "--data.prefetch 2 and --data.decode-threads 1 are fine" in said


def test_graphs_slower_than_the_step_ask_for_the_threads_that_suffice() -> None:
    waits, remedy = advise(trained(step=90.0, wait=86.0))
    assert "waits 48.9 % of a step" in waits
    # 170 ms of graphs beside 6 ms that no thread shortens: two threads take 91 ms, three 63.
    assert remedy.startswith("Raise --data.decode-threads to 3: decoder, views and mixing need 170 ms with 1")


def test_threads_that_are_there_already_count() -> None:
    _, remedy = advise(replace(trained(step=90.0, wait=86.0), threads=2))
    assert remedy.startswith("Raise --data.decode-threads to 5:")


def test_too_few_cores_ask_for_smaller_views() -> None:
    _, remedy = advise(replace(trained(step=44.0, wait=132.0), cores=2))
    assert remedy.startswith("2 cores cannot keep up with this step")
    assert "mixup costs most (60 ms)" in remedy
    # 23 of 155 ms that depend on the size: 0.385 of each side.
    assert "--view.short-range 154 462 instead of 400 1200" in remedy


def test_smaller_views_are_not_advised_where_decoding_alone_takes_longer_than_the_step() -> None:
    decoding = replace(
        trained(step=44.0, wait=156.0), cores=1, batch_ms=200.0, parts_ms=PARTS | {"decode": 70.0}
    )
    _, remedy = advise(decoding)
    assert "reading and decoding alone take 71 ms, the step 44" in remedy
    assert "--view" not in remedy


def test_on_cuda_threads_are_not_the_remedy() -> None:
    _, remedy = advise(replace(trained(step=44.0, wait=132.0), device="cuda"))
    assert remedy.startswith("One GPU for data and model cannot keep up")
    assert "--view.short-range" in remedy
    assert "--data.decode-threads" not in remedy


def test_batches_fast_enough_on_average_ask_for_a_longer_queue() -> None:
    _, remedy = advise(trained(step=200.0, wait=20.0, depths=(0, 2, 0, 1)))
    assert remedy.startswith("Raise --data.prefetch to 4")
    assert "2 of 4 steps found none ready" in remedy


def test_waiting_for_batches_that_were_ready_changes_no_setting() -> None:
    _, remedy = advise(trained(step=200.0, wait=6.0, depths=(2, 2, 1, 2)))
    assert remedy.startswith("A batch was ready at every step")
    assert "--data" not in remedy


def test_a_loader_that_is_slow_only_beside_the_model_asks_for_a_core() -> None:
    _, remedy = advise(trained(step=200.0, wait=20.0, depths=(0, 0, 0, 1)))
    assert remedy.startswith("Leave a core to the data with --threads 7")
    assert "3 of 4 steps found no batch ready" in remedy


def test_reading_that_takes_long_points_at_the_shards() -> None:
    slow = replace(FIGURES, parts_ms=PARTS | {"read": 120.0}, batch_ms=300.0)
    said = advise(slow)
    assert len(said) == 2
    assert "Reading takes 40 % (120 ms)" in said[1]


def test_a_model_faster_than_reading_alone_is_not_told_to_add_threads() -> None:
    slow = replace(trained(step=90.0, wait=210.0), parts_ms=PARTS | {"read": 120.0}, batch_ms=300.0)
    said = advise(slow)
    assert "Reading takes 40 %" in said[1]
    assert not any("--data.decode-threads to" in sentence for sentence in said)
