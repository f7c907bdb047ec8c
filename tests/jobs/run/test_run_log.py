from __future__ import annotations

from jobs.run.run_log import summary
from jobs.run.step_report import StepReport
from jobs.run.step_tally import StepTally
from pipeline.loaders.batch import TrainBatch


def tally(rank: int, *, waited: float, steps: int = 2) -> StepTally:
    """Return the tally of steps whose loss is the rank's number, of which the last has no mixup loss."""
    made = StepTally()
    for step in range(steps):
        skipped = step == steps - 1
        batch = TrainBatch(
            step=step, labeled=None, weak=None, student=None, mosaic=None, plan=None,
            resume={"unlabeled": {"left_out": list(range(rank))}},
            timings={"wait": waited / steps, "mix": 0.5}, num_unreadable={"unlabeled": rank},
        )  # fmt: skip
        report = StepReport(
            losses={"supervised_loss": float(rank)} | ({} if skipped else {"mixup_loss": 1.0}),
            skipped={"mixup": f"rank {rank} has no box"} if skipped else {},
            boxes_per_image=0.0, thresholds=(), gradient_norm=2.0, learning_rate=0.1, weak_labels=None,
        )  # fmt: skip
        made.add(batch, report, waiting=rank, burn_in=False)
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
