"""The loop of a run: a batch, a step, and what is due after it, on every rank alike.

In: data, trainer, loader and log of this rank. Out: checkpoints, metrics, scorings, until the last step or until a
rank is asked to stop. What happens after a step follows from the step's number and from what all ranks agreed on in
it, so all ranks do it together; the first one writes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Any

from analysis.coco_eval import Evaluation
from jobs.inference.predictions import PredictSettings
from jobs.inference.score import (
    ShardDetections,
    detect,
    evaluation_path,
    score_detections,
    write_evaluation,
)
from jobs.recipes.detector_defaults import view_settings
from jobs.recipes.train_config import TrainConfig
from jobs.run import checkpoint
from jobs.run.interrupt import INTERRUPTED, Interrupt
from jobs.run.ranks import Ranks
from jobs.run.run_directory import RunDirectory
from jobs.run.run_log import RunLog
from jobs.training.batch_losses import BatchLosses, NonFiniteLossError
from jobs.training.resampling import describe_repeats
from jobs.training.resume import Resumed, describe_change
from jobs.training.run_data import repeat_factors
from jobs.training.scorings import FIGURE, Scorings
from jobs.training.train_step import Trainer
from jobs.training.unread_step import UnreadStep
from pipeline.loaders.batch import TrainBatch
from pipeline.loaders.train_loader import TrainLoader
from storage import files
from storage.dataset.dataset import Dataset


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Training:
    """One rank of a run that trains."""

    config: TrainConfig
    run: RunDirectory
    data: Mapping[str, Dataset]
    trainer: Trainer
    ranks: Ranks
    loader: TrainLoader
    log: RunLog
    scorings: Scorings

    def run_steps(self, resumed: Resumed | None, factors: Mapping[str, float] | None) -> int:
        """Train from where it was `resumed`, or from the start, to the last step; return 0, or 130 when stopped.

        `factors` are the repeat factors that the tables give now.
        """
        start = 0 if resumed is None else resumed.step
        with Interrupt(under_torchrun=self.ranks.world_size > 1) as interrupt:
            self._log_start(resumed, start, factors)
            if self._has_stopped_gaining(start):
                self._say_best()
                return 0
            unread: UnreadStep | None = None
            for step in range(start, self.config.steps):
                unread = taken = self._step(step, interrupt, unread)
                done, stop = step + 1, False
                if taken.must_be_read_now or self._is_anything_due(done):
                    stop, unread = self._read(taken), None
                if self.trainer.thresholds is not None:
                    self.trainer.thresholds.follow(self.ranks)
                if due(done, self.config.resampling.every):
                    self._refresh_repeat_factors()
                if self._is_kept_after(done) or stop:
                    self._save(done, taken.batches[-1])
                if stop and done < self.config.steps:  # a scoring that is due now is made up for on resume
                    self.log.say(f"stopped after step {done}; continue {self._how_to_resume()}")
                    return INTERRUPTED
                if self._scored_after(done):
                    self._score(done)
                    if self._has_stopped_gaining(done):
                        if not self._is_kept_after(done):
                            self._save(done, taken.batches[-1])
                        break
        self._say_best()
        return 0

    def _log_start(self, resumed: Resumed | None, start: int, factors: Mapping[str, float] | None) -> None:
        if resumed is not None:
            # What was asked anew is kept, so that a resume from RUN/config.json goes on with it.
            self.ranks.on_first(lambda: self.run.write_config(dataclasses.replace(self.config, resume=False)))
            self.log.say(describe_change(self.config, resumed, self.ranks))
        self.log.say(describe_repeats(self.data["labeled"], factors))
        if start == self.config.steps:
            self.log.say(f"{self.run.root} is complete at step {start}; a higher --steps goes on from there")
        if resumed is not None and self.ranks.on_first(lambda: self._is_unscored(start)):
            self._score(start)

    def _step(self, step: int, interrupt: Interrupt, before: UnreadStep | None) -> UnreadStep:
        """Take one step with all ranks, and read the one before it, whose numbers came with this one's labels.

        Whatever becomes of this rank's part, it takes its place in the exchange, so no other one waits for it.
        """
        error: Exception | None = None
        losses: list[BatchLosses] = []
        try:
            for _ in range(self.trainer.accumulate):
                self.log.asks_for_batch(self.loader.waiting())
                losses.append(self.trainer.compute_gradient(next(self.loader)))
        except Exception as caught:  # raised by `exchange`, once the other ranks know
            error = caught
        if before is not None:
            self._read(before)
        values = [batch_losses.all_values() for batch_losses in losses]
        agreement = self.trainer.gradient.exchange(error, values, stop=interrupt.requested)
        return self.trainer.update_weights(step, losses, agreement)

    def _read(self, unread: UnreadStep) -> bool:
        """Tell of a step; return whether any rank was asked to stop. Raises what made the step void."""
        try:
            report = unread.read()
        except NonFiniteLossError as caught:
            raise self._with_step(caught, unread.step) from caught
        self.log.step(report)
        return report.stop

    def _is_anything_due(self, done: int) -> bool:
        """Return whether something that follows a step needs its numbers, or must not follow a void one."""
        log = self.config.log
        written = any(due(done, every) for every in (log.metrics, log.online_labels))
        return written or self._is_kept_after(done) or self._scored_after(done)

    def _is_kept_after(self, done: int) -> bool:
        return due(done, self.config.log.checkpoint) or done == self.config.steps

    def _with_step(self, error: NonFiniteLossError, step: int) -> NonFiniteLossError:
        """Return the error with its step and the checkpoint that is left."""
        newest = checkpoint.latest(self.run.checkpoints)
        kept = (
            f"the last good checkpoint is {newest}"
            if newest
            else f"no checkpoint lies in {self.run.root} yet"
        )
        return NonFiniteLossError(f"step {step}: {error}; {kept}; try a lower --optim.lr or --optim.clip")

    def _refresh_repeat_factors(self) -> None:
        """Take up the repeat factors that the tables give now; a checkpoint written after this carries them."""
        factors = repeat_factors(self.config, self.data, self.ranks)
        if factors is not None and not self.loader.repeats_by(factors):
            # All ranks change at the same epoch: the first that none of them can have begun.
            epoch = self.loader.set_repeat_factors(
                factors, agree=lambda earliest: max(self.ranks.gather(lambda: earliest))
            )
            described = describe_repeats(self.data["labeled"], factors)
            self.log.say(f"from epoch {epoch} of the labeled images, {described}")

    def _save(self, step: int, batch: TrainBatch) -> None:
        """Write a checkpoint of all ranks after `step` steps, the last batch being this one; all wait for it."""
        self._require_same_weights()
        kept = self.ranks.gather(lambda: {"loader": batch.resume, **self.trainer.rank_state_dict()})
        state = {**self._state(step), "ranks": kept, **self.trainer.state_dict()}
        self.ranks.on_first(
            lambda: str(checkpoint.save(self.run.checkpoints, step, state, keep=self.config.log.keep))
        )

    def _state(self, step: int) -> dict[str, Any]:
        """Return what every file of weights says of itself."""
        labeled = self.data["labeled"]
        return {
            "step": step,
            "seed": self.config.seed,
            "arm": self.config.arm,
            "classes": list(labeled.classes),
            "split_hash": None if labeled.split is None else labeled.split.get("hash"),
        }

    def _require_same_weights(self) -> None:
        """Raise RuntimeError where the ranks no longer train one model: nothing they would write is true."""
        if self.ranks.world_size == 1:
            return
        weights = {"student": self.trainer.student.state_dict(), "teacher": self.trainer.teacher.state_dict()}
        hashes = self.ranks.gather(lambda: {who: checkpoint.weights_hash(weights[who]) for who in weights})
        for rank, found in enumerate(hashes):
            if found != hashes[0]:
                raise RuntimeError(
                    f"rank {rank} holds other weights than rank 0, though both took the same steps; the ranks "
                    "must run the same code on the same kind of device"
                )

    def _how_to_resume(self) -> str:
        again = f"`mixpl train {quote(str(self.run.config))} --resume`"
        world = self.ranks.world_size
        return f"with {again}" if world == 1 else f"under torchrun, with {world} processes as before: {again}"

    def _scored_after(self, step: int) -> bool:
        at_the_end = step == self.config.steps
        return "test" in self.data and (due(step, self.config.log.evaluate) or at_the_end)

    def _is_unscored(self, step: int) -> bool:
        """Return whether the run was killed between the checkpoint of a step and the end of its scoring."""
        if not self._scored_after(step):
            return False
        path = evaluation_path(self.run, dataset=self.data["test"], weights="teacher", step=step)
        return not files.exists(path)

    def _score(self, step: int) -> None:
        """Let every rank look at its part of the shards, and the first one score the detections of all."""
        test, detector, ranks = self.data["test"], self.trainer.teacher.detector, self.ranks
        settings = PredictSettings(
            view=view_settings(self.config),
            threads=self.config.data.decode_threads,
            device=self.trainer.device,
        )
        shards = test.shards[ranks.rank :: ranks.world_size]

        def scored(parts: list[ShardDetections]) -> Evaluation:
            result = score_detections(test, parts)
            ap = result.figures[FIGURE]
            if self.scorings.is_best(ap):
                state = {**self._state(step), **self.trainer.weights()}
                self.scorings.save_best(self.run, test, state, ap=ap)
            write_evaluation(result, self.run, dataset=test, weights="teacher", step=step)
            return result

        with self.log.paused():
            parts = ranks.gather(lambda: detect(detector, test, shards, settings))
            result = ranks.on_first(lambda: scored(parts))
        self.scorings.add(step, result.figures[FIGURE])
        self.log.scored(step, test.name, result)

    def _say_best(self) -> None:
        if "test" in self.data:
            self.log.say(self.scorings.describe(self.run, self.data["test"]))

    def _has_stopped_gaining(self, step: int) -> bool:
        """Return whether the run ends before its last step, and say why."""
        patience, since = self.config.log.patience, len(self.scorings.since)
        if not patience or since < patience or step >= self.config.steps:
            return False
        self.log.say(
            f"ended at step {step} of {self.config.steps}: {since} scorings without a gain since step "
            f"{self.scorings.best_step} (--log.patience {patience})"
        )
        return True


def due(step: int, every: int) -> bool:
    """Return whether something that happens every n-th step happens after this one; 0 is never."""
    return every > 0 and step % every == 0
