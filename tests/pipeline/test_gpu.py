"""The same graphs on CUDA: pixels lie on the device and agree with those of the CPU."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch

from pipeline.batch import TrainBatch
from pipeline.loader import TrainLoader
from pipeline.settings import MixSettings, ViewSettings

VIEW = ViewSettings(short_range=(48, 80), long_max=128)
MIX = MixSettings(mosaic_range=(40, 80))
MEAN_DIFFERENCE = 0.05
"""In units of the standard deviation: decoders and warp kernels of the two backends differ slightly."""


def batches(device: Literal["cpu", "cuda"], labeled: Any, unlabeled: Any) -> list[TrainBatch]:
    with TrainLoader(labeled, unlabeled, view=VIEW, mix=MIX, device=device, num_steps=5) as loader:
        return list(loader)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_views_mixup_and_mosaic_lie_on_the_device_and_agree_with_the_cpu(draw_set: Any) -> None:
    labeled = draw_set("labeled", 6, labeled=True)
    unlabeled = draw_set("unlabeled", 12, first_id=100)
    for here, there in zip(
        batches("cpu", labeled, unlabeled), batches("cuda", labeled, unlabeled), strict=True
    ):
        for name in ("labeled", "weak", "student", "mosaic"):
            expected, view = getattr(here, name), getattr(there, name)
            assert (expected is None) == (view is None)
            if view is not None:
                assert view.images_BCHW.is_cuda
                assert view.sizes_B2 == expected.sizes_B2
                difference = (view.images_BCHW.cpu() - expected.images_BCHW).abs().mean()
                assert difference < MEAN_DIFFERENCE, f"{name} of step {here.step}"
