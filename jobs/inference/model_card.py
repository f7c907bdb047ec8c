"""What a file of weights says of itself: which detector, of what, for which images, from where.

In: a trained detector. Out: its `ModelCard`, and that as JSON text, which exported weights carry inside, whatever
their format; and the card again. With it a file can be predicted with as a run can.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec

from jobs.inference.trained import TrainedDetector
from jobs.recipes.detector_defaults import OF_DETECTOR, batch_norm, score_threshold, view_settings
from jobs.run.run_directory import RunDirectory, git_commit
from pipeline.settings import ViewSettings
from storage.json_head import HeadFormat, Share

TEST_VIEW = ("test_short", "test_long_max", *OF_DETECTOR)
"""What of the views' settings an image that is predicted on depends on."""


BUILT_BY = ("name", "backbone", "norm", "size")
"""What of a run's `model` its detector is built by; the rest says where it starts and how it trains."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """Everything that is needed to predict with weights, and where they come from."""

    model: dict[str, str | None]
    """Name, backbone and the other choices that the detector was built by."""
    classes: tuple[str, ...]
    view: dict[str, Any]
    """Short and long side in pixels that an image is resized to, mean and deviation of red, green and blue that
    it is normalised by (0-255 scale), the multiple that it is padded to with zeros, whether it is made square."""
    score_threshold: Share
    """The score above which a detection counts, unless something else is asked for."""
    provenance: dict[str, Any]
    """Run, step, whose weights, the commits that trained and exported them, the sha256 of weights, configuration
    and split."""

    @property
    def view_settings(self) -> ViewSettings:
        """Return the settings of the views to predict on."""
        return msgspec.convert(self.view, ViewSettings)

    @property
    def source(self) -> str:
        """Return whose weights they are, in words."""
        origin = self.provenance
        return f"the {origin.get('weights')} of {origin.get('run')} at step {origin.get('step')}"

    def to_text(self) -> str:
        """Return the card as JSON."""
        return CARD.encode(self, indent=None).decode()


CARD = HeadFormat(
    kind=ModelCard, what="the card of exported weights", remedy="export them again with `mixpl weights`"
)


def card_of(trained: TrainedDetector) -> ModelCard:
    """Return the card of a detector that a run trained."""
    model = trained.config.model
    view = view_settings(trained.config)
    return ModelCard(
        model={name: getattr(model, name) for name in BUILT_BY} | {"norm": batch_norm(trained.config)},
        classes=trained.classes,
        view={name: getattr(view, name) for name in TEST_VIEW},
        score_threshold=score_threshold(trained.config),
        provenance={
            "run": trained.run.name,
            "step": trained.step,
            "weights": trained.weights,
            "weights_hash": trained.weights_hash,
            "config_hash": trained.config_hash,
            "split_hash": trained.split_hash,
            "trained_by": _commit(trained.run),
            "exported_by": git_commit(),
        },
    )


def _commit(run: RunDirectory) -> str | None:
    """Return the commit of the code that trained the run, where the run says so."""
    try:
        origin = json.loads((run.root / "origin.json").read_text(encoding="utf-8"))
        return str(origin["git_commit"]) if origin["git_commit"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
