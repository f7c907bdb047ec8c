"""Both views of unlabeled photographs at the paper's sizes: ours beside the published framework's transforms.

From JPEG files of 640 x 480 px to the teacher's batch (short side 400 to 1200, normalised, padded) and the strong
views (bytes). Each side draws its own sizes, anew in every run. One thread each, the allocator as the system sets
it (glibc, no variable set), runs in turns; theirs counts in its own process. On CUDA, images a second stand beside
those of one CPU core: that is what the GPU gives for the one core that feeds it.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import Result, beside, compare_timed, cpu_seconds, not_run
from benchmarks.photos import HEIGHT, WIDTH, write_photos
from benchmarks.published import PublishedViews, prepare
from pipeline.graphs.graph import Device, GraphDevice
from pipeline.graphs.views import UnlabeledViews
from pipeline.plans.view_plans import plan_strong, plan_weak
from pipeline.settings import ViewSettings

NUM_PHOTOS, BATCH_SIZE, NUM_BATCHES, RUNS = 32, 4, 20, 7
NUM_IMAGES = BATCH_SIZE * NUM_BATCHES
NAME, UNIT = "weak + strong view from a 640 x 480 JPEG", "CPU ms an image"
CUDA_BAR = 20
"""One GPU does the work of so many CPU cores."""


def run() -> list[Result]:
    """Compare both, and CUDA where there is one."""
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        write_photos(images, NUM_PHOTOS)
        ours = Ours(images, "cpu")
        results = [_beside_theirs(images, ours)]
        if torch.cuda.is_available():
            seconds = min(cpu_seconds(partial(ours.views, seed)) for seed in range(3))
            results.append(_on_cuda(images, NUM_IMAGES / seconds))
    return results


class Ours:
    """The graph of the unlabeled side, plans and reading of files included."""

    def __init__(self, images: Path, device: Device) -> None:
        self._files = sorted(images.glob("*.jpg"))
        self._settings = ViewSettings()
        self._graph = UnlabeledViews(self._settings, batch_size=BATCH_SIZE, device=GraphDevice(kind=device))

    def views(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        order = itertools.cycle(self._files)
        sizes_B2 = np.tile([HEIGHT, WIDTH], (BATCH_SIZE, 1))
        for _ in range(NUM_BATCHES):
            encoded = [file.read_bytes() for file in itertools.islice(order, BATCH_SIZE)]
            weak = plan_weak(rng, self._settings, sizes_B2)
            strong = plan_strong(rng, self._settings, sizes_B2)
            self._graph.run(encoded, weak, strong)


def _beside_theirs(images: Path, ours: Ours) -> Result:
    seeds = (itertools.count(), itertools.count())
    scale = 1e3 / NUM_IMAGES

    def our_seconds() -> float:
        return cpu_seconds(lambda: ours.views(next(seeds[0])))

    why = prepare()
    if why is None:
        try:
            with PublishedViews(images, batch_size=BATCH_SIZE) as theirs:
                print(f"beside {theirs.versions}", file=sys.stderr)
                return compare_timed(
                    NAME,
                    our_seconds,
                    lambda: theirs.seconds(next(seeds[1]), NUM_BATCHES),
                    bar=1.5,
                    runs=RUNS,
                    scale=scale,
                    unit=UNIT,
                )
        except RuntimeError as error:
            why = str(error)[:200]
    our_seconds()
    return not_run(NAME, why, unit=UNIT, ours=our_seconds() * scale)


def _on_cuda(images: Path, images_a_core_second: float) -> Result:
    ours = Ours(images, "cuda")
    ours.views(0)
    torch.cuda.synchronize()
    began = time.perf_counter()
    for seed in range(RUNS):
        ours.views(seed)
    torch.cuda.synchronize()
    milliseconds = 1e3 * (time.perf_counter() - began) / (RUNS * NUM_IMAGES)
    return beside(
        f"{NAME}, on CUDA", milliseconds, 1e3 / images_a_core_second, bar=CUDA_BAR, unit="ms an image"
    )
