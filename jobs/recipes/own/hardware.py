"""What `own` must know of the machine: where it trains, and which weights can be had.

In: the device that a run asks for. Out: `Hardware`. Weights that torchvision publishes are looked for in its cache,
and else asked of its server, which has `PATIENCE` seconds to say that it is there; nothing is downloaded.
"""

from __future__ import annotations

import importlib.util
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_V2_Weights

from jobs.inference.trained import choose_device
from model.detectors.timm_backbone import LITE0_PACKAGE

PATIENCE = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardware:
    """The machine, as far as a training run goes by it."""

    gpu_memory: float | None
    """GiB of the GPU; None where training is on the CPU."""
    published: bool
    """Whether torchvision's weights from COCO can be had; asked only where there is a GPU."""
    lite0: bool
    """Whether the pretrained EfficientNet-Lite0 is installed, and timm, which runs it."""


def look_at_hardware(device: Literal["auto", "cpu", "cuda"]) -> Hardware:
    """Return what this machine has. Raises ConfigError where cuda is asked for and not there."""
    chosen = choose_device(device)
    on_gpu = chosen.type == "cuda"
    return Hardware(
        gpu_memory=torch.cuda.get_device_properties(chosen).total_memory / 2**30 if on_gpu else None,
        published=on_gpu and can_be_had(FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1.url),
        lite0=all(importlib.util.find_spec(package) for package in ("timm", LITE0_PACKAGE)),
    )


def can_be_had(url: str) -> bool:
    """Return whether a file lies in torch's cache or its server answers for it."""
    if (Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]).is_file():
        return True
    try:
        head = urllib.request.Request(url, method="HEAD")  # noqa: S310  an address of torchvision's own
        with urllib.request.urlopen(head, timeout=PATIENCE):  # noqa: S310
            return True
    except OSError:  # no network, no such host, refused, too late
        return False
