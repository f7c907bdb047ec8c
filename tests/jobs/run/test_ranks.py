"""Three real processes that meet in every way: none waits without end, none goes on with other weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.recipes import config_file
from jobs.run.ranks import Ranks, process_group
from jobs.training.gradients import GradientExchange
from storage.errors import ConfigError, RunStoppedError, StoreError

Reports = list[dict[str, Any]]


@pytest.fixture(scope="module")
def reports(drawn: Path, short_run: Callable[..., Any], tmp_path_factory: Any) -> Reports:
    """What each of three ranks saw; 3 x 11 labeled images a step are more than the 20 that there are."""
    folder = tmp_path_factory.mktemp("three")
    config = short_run(drawn, folder / "run")
    config = replace(config, data=replace(config.data, batch_labeled=11, test=str(drawn / "test")))
    path = folder / "config.json"
    path.write_text(config_file.to_json(config))
    script = Path(__file__).with_name("three_ranks.py")
    with (folder / "said.txt").open("w") as said:
        subprocess.run(
            [sys.executable, str(script), str(path), str(folder)],
            stdout=said, stderr=said, timeout=200, check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(script.parents[3])},
        )  # fmt: skip
    found = [folder / f"rank-{rank}.json" for rank in range(3)]
    assert all(path.exists() for path in found), (folder / "said.txt").read_text()
    return [json.loads(path.read_text()) for path in found]


def test_values_pass_between_ranks(reports: Reports) -> None:
    for rank, report in enumerate(reports):
        assert report["gather"] == [0, 10, 20]
        assert report["on_all"] == rank * 10
        assert report["from_first"] == 7
        assert report["copied"] == [[0.0, 0.0]] * 3


def test_a_failure_on_one_rank_is_raised_on_all_and_they_can_meet_again(reports: Reports) -> None:
    first, second, third = reports
    assert second["failed_on_1"].startswith("ZeroDivisionError")
    for other in (first, third):
        assert other["failed_on_1"].startswith(
            "RankFailedError: rank 1 failed, see its output (ZeroDivisionError"
        )
    assert first["failed_on_first"].startswith("ZeroDivisionError")
    assert second["failed_on_first"].startswith("RankFailedError: rank 0 failed")
    assert all(report["after_failures"] == [0, 1, 2] for report in reports)


def test_ranks_with_other_images_are_refused_and_new_repeat_factors_count_from_one_epoch(
    reports: Reports,
) -> None:
    for report in reports:
        assert "expected the same labeled images on every rank, got others on rank 2" in report["other_data"]
        assert report["factors_from"] == reports[0]["factors_from"] > 2


def test_thresholds_by_class_come_from_the_labels_of_all_ranks(reports: Reports) -> None:
    for report in reports:
        assert report["thresholds"] == report["thresholds_alone"] != [0.5, 0.5]


def test_gradients_become_their_mean_and_a_wish_to_stop_is_known_to_all(reports: Reports) -> None:
    for report in reports:
        assert report["means"] == [[[1.0], [0.0, 0.0, 0.0], False], [[2.0], [0.0, 0.0, 0.0], True]]


def test_ranks_that_run_other_passes_hold_the_same_weights_bit_for_bit(reports: Reports) -> None:
    assert [report["skipped"] for report in reports] == [[], ["mixup", "mosaic"], []]
    assert all(report["weights"] == reports[0]["weights"] for report in reports)
    assert len(set(reports[0]["weights"])) == 2  # the teacher is not the student


def test_a_loss_that_is_no_number_or_a_batch_that_never_comes_ends_all_ranks_and_changes_no_weight(
    reports: Reports,
) -> None:
    first, second, third = reports
    assert second["no_number_on_1"].startswith("NonFiniteLossError: loss supervised_loss")
    assert first["no_number_on_1"].startswith("RankFailedError: rank 1 failed")
    assert third["no_number_on_1"].startswith("RankFailedError: rank 1 failed")
    assert third["no_batch_on_2"] == "RuntimeError: asked for an item of a loader that is closed"
    assert {report["student_after"] for report in reports} == {first["weights"][0]}


def test_a_rank_that_is_silent_for_too_long_is_an_error_on_the_others(reports: Reports) -> None:
    for report in (reports[0], reports[2]):
        assert report["lost"].startswith("RankLostError: another rank is gone")
        assert "was silent for 60 s (--timeout)" in report["lost"]
        assert report["seconds"] < 30


def test_a_world_without_a_rank_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(ConfigError, match="expected RANK beside WORLD_SIZE 2"),
        process_group(torch.device("cpu"), timeout=1.0),
    ):
        pass


def test_an_error_from_outside_names_its_rank_and_a_fault_of_ours_keeps_its_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("torch.distributed.init_process_group", lambda *_, **__: None)
    cpu = torch.device("cpu")
    with pytest.raises(RunStoppedError, match="rank 1: no such set"), process_group(cpu, timeout=1.0):
        raise StoreError("no such set")
    with pytest.raises(RunStoppedError, match=r"rank 1: .*nowhere"), process_group(cpu, timeout=1.0):
        Path("nowhere").read_bytes()
    with pytest.raises(ValueError, match="argument 2 is shorter") as caught, process_group(cpu, timeout=1.0):
        list(zip([1, 2], [1], strict=True))
    assert caught.type is ValueError
    assert caught.value.__notes__ == ["This happened on rank 1."]


def test_a_process_alone_joins_no_group_and_keeps_its_gradients() -> None:
    with process_group(torch.device("cpu"), timeout=1.0) as ranks:
        assert not torch.distributed.is_initialized()
        assert ranks.first
    weight = torch.nn.Parameter(torch.ones(2))
    exchange = GradientExchange([weight], Ranks())
    exchange.clear()
    (weight * 3).sum().backward()
    before = weight.grad
    agreement = exchange.exchange(None, [torch.ones(1)], stop=False)
    assert not len(agreement.flags)
    assert not agreement.void
    assert weight.grad is before
    with pytest.raises(KeyError, match="mine"):
        exchange.exchange(KeyError("mine"), [], stop=False)
