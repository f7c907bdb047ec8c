"""What the figures of a run say is wrong, in words: a pure function from figures to sentences.

In: a `RunView`, and where the truth is known what the teacher's last labels are worth. Out: sentences that name the
figure, since when, and the setting to change; none where nothing is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analysis.online_quality import ClassPrecision
from jobs.run.read_run import RunView

WINDOW = 200
"""Steps that a warning speaks of."""
CLOSED, WAITING, LOST, PRECISE = 0.5, 0.1, 0.1, 0.5
"""From which share of closed gates, of waiting, of an AP that was reached, and below which precision it warns."""
LEAST_LABELS = 10
"""Fewer pseudo labels of a class are no sample of its precision."""


def warnings_of(view: RunView, precisions: Sequence[ClassPrecision] = ()) -> list[str]:
    """Return what is worth a word, the most urgent first."""
    window = _last(view)
    return [
        *_not_finite(window),
        *_gates(view, window),
        *_precision(precisions),
        *_ap(view),
        *_waiting(window),
        *_unreadable(window),
    ]


def _last(view: RunView) -> list[Mapping[str, Any]]:
    return [line for line in view.lines if line["step"] > view.step - WINDOW]


def _not_finite(window: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for line in window:
        for name in ("loss", "gradient_norm"):
            if not math.isfinite(line.get(name, 0.0)):
                yield f"{name} was {line[name]} at step {line['step']}: try a lower --optim.lr or --optim.clip"
                return


def _gates(view: RunView, window: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    steps = sum(_num_steps(view, line) for line in window)
    for part in ("mixup", "mosaic"):
        closed = sum(line.get(f"skipped_{part}_steps", 0) for line in window)
        share = min(1.0, closed / steps) if steps else 0.0
        if share >= CLOSED:
            yield (
                f"no {part} loss in {100 * share:.0f} % of the last {steps} steps: lower --pseudo.score-threshold "
                f"(now {view.asked('pseudo', 'score_threshold')}){_other_gate(view)}, or train longer before the "
                "first unlabeled image (--burn-in)"
            )


def _num_steps(view: RunView, line: Mapping[str, Any]) -> int:
    """Return how many steps could be skipped: those of all processes, where the line says."""
    told = line.get("num_batches", line.get("num_steps", view.asked("log", "metrics")))
    return int(told or 0)


def _other_gate(view: RunView) -> str:
    return ", take --pseudo.gate any_image" if view.asked("pseudo", "gate") == "every_image" else ""


def _precision(precisions: Sequence[ClassPrecision]) -> Iterator[str]:
    for of_class in precisions:
        if of_class.pseudo_labels >= LEAST_LABELS and of_class.correct < PRECISE * of_class.pseudo_labels:
            yield (
                f"precision of class {of_class.name} fell below {PRECISE:g}: {of_class.correct} of its last "
                f"{of_class.pseudo_labels} pseudo labels are right; raise --pseudo.score-threshold, or let each "
                "class have its own (--thresholds.policy mixture)"
            )


def _ap(view: RunView) -> Iterator[str]:
    for dataset in dict.fromkeys(scoring["dataset"] for scoring in view.scorings):
        scored = [line for line in view.scorings if line["dataset"] == dataset and "AP" in line]
        best = max(scored, key=lambda line: line["AP"], default=None)
        if best is not None and scored[-1]["AP"] < (1 - LOST) * best["AP"]:
            yield (
                f"AP on {dataset} fell to {scored[-1]['AP']:.1f} at step {scored[-1]['step']}; it was "
                f"{best['AP']:.1f} at step {best['step']}"
            )


def _waiting(window: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    shares = [line.get("wait_share_worst", line.get("wait_share", 0.0)) for line in window]
    mean = sum(shares) / len(shares) if shares else 0.0
    if mean >= WAITING:
        yield (
            f"the model waits for data {100 * mean:.0f} % of its time: `mixpl profile` says which setting to "
            "change"
        )


def _unreadable(window: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for part in ("labeled", "unlabeled"):
        count = window[-1].get(f"unreadable_{part}", 0) if window else 0
        if count:
            yield f"{count} {part} images could not be read and were set aside: `mixpl verify` names them"
