from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from jobs.recipes.drawn import tiny
from jobs.recipes.train_config import LogConfig
from jobs.run.ranks import Ranks
from jobs.run.run_directory import RunDirectory
from jobs.run.run_log import RunLog, summary
from jobs.run.step_report import BatchReport, StepReport
from jobs.run.step_tally import StepTally
from pipeline.loaders.batch import TrainBatch


def one_step(rank: int, step: int, *, waited: float = 0.1, skipped: bool = False) -> StepReport:
    """Return a step whose loss is the rank's number."""
    batch = TrainBatch(
        step=step, labeled=None, weak=None, student=None, mosaic=None, plan=None,
        resume={"unlabeled": {"left_out": list(range(rank))}},
        timings={"wait": waited, "mix": 0.5}, num_unreadable={"unlabeled": rank},
    )  # fmt: skip
    figures = BatchReport(
        batch=batch,
        losses={"supervised_loss": float(rank)} | ({} if skipped else {"mixup_loss": 1.0}),
        skipped={"mixup": f"rank {rank} has no box"} if skipped else {},
        boxes_per_image=None, weak_labels=None,
    )  # fmt: skip
    return StepReport(
        step=step, batches=(figures,), thresholds=(), gradient_norm=2.0, learning_rate=0.1, stop=False
    )


def tally(rank: int, *, waited: float, steps: int = 2) -> StepTally:
    """Return the tally of steps whose loss is the rank's number, of which the last has no mixup loss."""
    made = StepTally()
    for step in range(steps):
        report = one_step(rank, step, waited=waited / steps, skipped=step == steps - 1)
        made.figures["queue_depth"].append(rank)
        made.add(report, burn_in=False)
    made.seconds = 4.0
    return made


def test_tallies_of_ranks_become_means_and_sums() -> None:
    joined = StepTally.join([tally(1, waited=0.0), tally(3, waited=2.0, steps=2)])
    assert joined.num_steps == 4
    means = joined.means()
    assert means["supervised_loss"] == 2.0
    assert means["mixup_loss"] == 1.0  # of the steps that had one
    assert means["queue_depth"] == 2.0
    assert joined.counts() == {"skipped_mixup_steps": 2, "unreadable_unlabeled": 3}  # the same image is one
    assert joined.reasons == {"mixup": "rank 3 has no box"}
    assert joined.wait_share() == 0.25
    assert StepTally.join([tally(2, waited=1.0)]).wait_share() == tally(2, waited=1.0).wait_share() == 0.25


def test_the_line_for_a_person_says_so_where_data_keeps_it_waiting() -> None:
    row = {
        "supervised_loss_box": 1.0,
        "supervised_loss_class": 0.5,
        "steps_per_second": 3.0,
        "wait_share": 0.004,
    }
    names = ["supervised_loss_box", "supervised_loss_class"]
    assert summary(row, names) == "supervised 1.500  3.0 steps/s"
    assert summary(row | {"wait_share": 0.012}, names) == "supervised 1.500  3.0 steps/s  data 1 %"
    assert summary(row | {"wait_share_worst": 0.5}, names).endswith("data 50 %")


def test_a_line_says_how_many_steps_it_covers_also_after_a_kill(tmp_path: Path) -> None:
    config = replace(tiny(), steps=10, burn_in=0, log=LogConfig(metrics=4, online_labels=0))
    run = RunDirectory(str(tmp_path / "run"))
    for start, end in ((0, 7), (6, 10)):  # killed after step 7, resumed from the checkpoint of step 6
        with RunLog(run, config, Ranks(), start, {}) as log:
            for step in range(start, end):
                log.asks_for_batch(0)
                log.step(one_step(step, step, skipped=True))
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    covered = [(row["step"], row["num_steps"], row["skipped_mixup_steps"]) for row in rows]
    assert covered == [(4, 4, 4), (8, 2, 2), (10, 2, 2)]
    assert [row["supervised_loss"] for row in rows] == [1.5, 6.5, 8.5], "means of the steps that each covers"
