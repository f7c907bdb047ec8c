"""Where a run goes on: its last checkpoint, dealt to the ranks that take it up.

In: the configuration asked for, and the run's folder. Out: the state after the last step that was kept, and what of
it each rank has. A resume that would be neither the old run nor a new one is refused by the name of the key. With
as many ranks as before each goes on with its own state, as if it had never stopped; with another number what was
left of each epoch is dealt anew (`pipeline/samples/redealing.py`) and all that belonged to single ranks starts
empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Any

from jobs.recipes import config_file
from jobs.recipes.detector_defaults import resolve_detector
from jobs.recipes.train_config import TrainConfig
from jobs.run import checkpoint
from jobs.run.ranks import Ranks
from jobs.run.run_directory import RunDirectory
from pipeline.samples.redealing import redeal
from storage.errors import ConfigError

State = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Resumed:
    """Where a run goes on: all of its checkpoint that is still asked for once every rank has its part."""

    step: int
    ranks_before: int


MAY_CHANGE = (
    "out", "steps", "resume", "threads", "timeout", "log.", "model.checkpoint_activations",
    "data.labeled", "data.unlabeled", "data.test", "data.decode_threads", "data.prefetch", "data.check_bytes",
    "labels.round",
)  # fmt: skip
"""What a resumed run may be asked anew: it changes no weight of the steps that are left, except that another
number of `threads` adds in another order. Data and labels may lie elsewhere; others are refused by
the loader."""


def previous_state(config: TrainConfig, run: RunDirectory) -> State | None:
    """Return the newest checkpoint of the run in the folder, or None when it has none.

    Raises ConfigError when there is one and no resume is asked for, and when it cannot be continued as asked.
    """
    newest = checkpoint.latest(run.checkpoints)
    if not config.resume:
        if newest is not None:
            raise ConfigError(
                f"{run.root} holds a run already; add --resume to continue it, or name another --out"
            )
        return None
    if newest is None:
        return None
    _refuse_other_run(config, run)
    state = checkpoint.load(newest)
    if "ranks" not in state:
        raise ConfigError(
            f"expected a checkpoint with the state of every rank, got one of an earlier version: {newest}; "
            "its weights can be scored and can label, but the run cannot go on: name another --out"
        )
    if state["step"] > config.steps:
        raise ConfigError(
            f"{run.root} has {state['step']} steps already, asked for --steps {config.steps}; "
            "name another --out to train for fewer"
        )
    return state


def state_of_rank(state: State, ranks: Ranks) -> State:
    """Return what this rank goes on with: loader position, label cache, threshold window, random numbers."""
    kept = state["ranks"]
    if len(kept) == ranks.world_size:
        state_here: State = kept[ranks.rank]
        return state_here
    mine = kept[ranks.rank] if ranks.rank < len(kept) else {"random": None, "random_cuda": None}
    thresholds = kept[0]["thresholds"]
    return {
        "loader": redeal(
            [rank_state["loader"] for rank_state in kept], rank=ranks.rank, world=ranks.world_size
        ),
        "cache": None,
        "thresholds": None if thresholds is None else {**thresholds, "window": None},
        "random": mine["random"],
        "random_cuda": mine["random_cuda"],
    }


def describe_change(config: TrainConfig, resumed: Resumed, ranks: Ranks) -> str | None:
    """Return what goes on and what starts anew with another number of ranks; None with the same."""
    before, now = resumed.ranks_before, ranks.world_size
    if before == now:
        return None
    images = config.data.batch_labeled * config.optim.accumulate
    anew = []
    if config.arm != "supervised":
        images += config.data.batch_unlabeled * config.optim.accumulate
        anew.append("the cached views and labels for mixing, which begins again when they are full")
    if config.thresholds.policy != "fixed":
        anew.append("the labels since the last thresholds by class")
    kept = "weights, teacher, optimiser, step, and that each image is drawn once an epoch (times its repeat factor)"
    lines = [
        f"step {resumed.step} was reached by {before} processes and goes on with {now}:",
        f"  kept: {kept}; what is left of this epoch is dealt anew",
        *(f"  anew: {what}" for what in anew),
        f"  images a step: {before * images} before, {now * images} now; the learning rate is unchanged",
    ]
    return "\n".join(lines)


def _refuse_other_run(config: TrainConfig, run: RunDirectory) -> None:
    """Raise ConfigError when the run in the folder was another one: continuing it would be neither."""
    text = config_file.read_text(run.config)
    before = config_file.flatten(
        resolve_detector(config_file.from_json(TrainConfig, text, where=str(run.config)))
    )
    now: Mapping[str, Any] = config_file.flatten(config)
    different = [
        f"{key} was {before[key]!r}, asked for {now[key]!r}"
        for key in now
        if now[key] != before[key] and not key.startswith(MAY_CHANGE)
    ]
    if different:
        raise ConfigError(
            f"{run.root} holds another run: {'; '.join(different)}; resume with "
            f"`mixpl train {quote(str(run.config))} --resume`, or name another --out"
        )
