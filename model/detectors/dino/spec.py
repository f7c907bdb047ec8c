"""DINO by name: what is known of it before it is built.

The score threshold is that of MixPL for DINO and the DETR family (arXiv 2312.07006). transformers is imported by
what builds it, not here: the command line asks for every detector's threshold.
"""

from __future__ import annotations

from typing import Any

from model.detector import Detector
from model.detectors.spec import DetectorSpec
from model.errors import ModelError


def dino_spec() -> DetectorSpec:
    """Return what is known of DINO with 4 scales."""
    return DetectorSpec(
        build=_build, score_threshold=0.4, weights=("none", "imagenet"), backbone="resnet50", norm="frozen"
    )


def _build(**choices: Any) -> Detector:
    """Return the detector; `choices` as of `build_dino`. Raises ModelError where transformers is not installed."""
    try:
        from model.detectors.dino.build import build_dino
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("transformers"):
            raise
        raise ModelError(
            "dino-resnet50 is built with modules of transformers, which is not installed: "
            "pip install 'mixpl[detr]'"
        ) from error
    return build_dino(**choices)
