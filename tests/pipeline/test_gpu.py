"""The same graphs on CUDA: pixels stay on the device, agree with those of the CPU, and are ordered by streams."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.loaders.batch import TrainBatch, View
from pipeline.settings import MixSettings, ViewSettings
from storage.dataset.dataset import Dataset
from storage.dataset.write_dataset import write_dataset
from storage.readers.coco import read_coco
from tests.pipeline.batches import open_loader

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

VIEW = ViewSettings(short_range=(48, 80), long_max=128)
MIX = MixSettings(mosaic_range=(40, 80))
LARGE_VIEW = ViewSettings(short_range=(480, 512), long_max=640)
LARGE_MIX = MixSettings(mosaic_range=(400, 512))
NAMES = ("labeled", "weak", "student", "mosaic")
STEPS = 5
SOURCE = 64
"""Side in pixels of the JPEG files."""


def batches(
    labeled: Dataset | None,
    unlabeled: Dataset | None,
    *,
    device: Literal["cpu", "cuda"] = "cuda",
    view: ViewSettings = VIEW,
    mix: MixSettings = MIX,
    device_id: int = 0,
    steps: int = STEPS,
) -> Iterator[TrainBatch]:
    with open_loader(
        labeled, unlabeled, view=view, mix=mix, kind=device, index=device_id, num_steps=steps
    ) as loader:
        yield from loader


def views(batch: TrainBatch) -> dict[str, View]:
    found = {name: getattr(batch, name) for name in NAMES}
    return {name: view for name, view in found.items() if view is not None}


def copies(given: Iterator[TrainBatch]) -> list[dict[str, torch.Tensor]]:
    return [{name: view.images_BCHW.cpu() for name, view in views(batch).items()} for batch in given]


@pytest.fixture
def png_sets(draw_set: Any) -> tuple[Dataset, Dataset]:
    return draw_set("labeled", 6, labeled=True), draw_set("unlabeled", 12, first_id=100)


@pytest.fixture
def jpeg_sets(tmp_path: Path) -> tuple[Dataset, Dataset]:
    return _jpeg_set(tmp_path, "labeled", 6, labeled=True), _jpeg_set(
        tmp_path, "unlabeled", 12, labeled=False
    )


def _jpeg_set(root: Path, name: str, num_images: int, *, labeled: bool) -> Dataset:
    """Write smooth pictures with one box each, as JPEG files of colours at half resolution."""
    folder = root / f"{name}-images"
    folder.mkdir()
    rng = np.random.default_rng(len(name))
    document: dict[str, Any] = {"images": [], "categories": [{"id": 1, "name": "thing"}]}
    for image_id in range(1, num_images + 1):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        file = io.BytesIO()
        coarse.resize((SOURCE, SOURCE), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        (folder / f"{image_id}.jpg").write_bytes(file.getvalue())
        document["images"].append(
            {"id": image_id, "file_name": f"{image_id}.jpg", "height": SOURCE, "width": SOURCE}
        )
    if labeled:
        document["annotations"] = [
            {
                "id": image["id"],
                "image_id": image["id"],
                "category_id": 1,
                "bbox": [8, 8, 40, 40],
                "area": 1600,
                "iscrowd": 0,
            }
            for image in document["images"]
        ]
    path = root / f"{name}.json"
    path.write_text(json.dumps(document))
    return write_dataset(str(root / name), read_coco(str(path)), images_root=str(folder), name=name).dataset


def grey_levels_apart(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the differences of two normalised batches on the scale of 0 to 255, one a pixel and channel."""
    std_C11 = torch.tensor(VIEW.std)[:, None, None]
    return ((one - other) * std_C11).abs().flatten()


def assert_near(
    here: Iterator[TrainBatch], there: Iterator[TrainBatch], *, mean: float, at_99_percent: float
) -> None:
    """Every view of every step agrees: sizes exactly, pixels up to so many grey levels."""
    for expected, found in zip(here, there, strict=True):
        assert views(expected).keys() == views(found).keys()
        for name, view in views(found).items():
            wanted = views(expected)[name]
            where = f"{name} of step {expected.step}"
            assert view.images_BCHW.is_cuda, where
            assert view.sizes_B2 == wanted.sizes_B2, where
            assert view.images_BCHW.stride() == wanted.images_BCHW.stride(), where
            apart = grey_levels_apart(view.images_BCHW.cpu(), wanted.images_BCHW)
            assert apart.mean() < mean, where
            assert apart.quantile(0.99) < at_99_percent, where


def test_views_mixup_and_mosaic_of_equal_pixels_agree_with_the_cpu(png_sets: tuple[Dataset, Dataset]) -> None:
    # PNG files decode to the same pixels everywhere; the warps are two kernels, each within 0.6 of exact, and
    # rounded. Flat colours with hard edges: one pixel in a hundred lies on an edge where 1/32 px is 8 levels.
    assert_near(batches(*png_sets, device="cpu"), batches(*png_sets), mean=0.5, at_99_percent=8)


def test_views_mixup_and_mosaic_of_jpeg_files_agree_with_the_cpu_as_their_decoders_do(
    jpeg_sets: tuple[Dataset, Dataset],
) -> None:
    # The decoders differ in how they enlarge the colour planes, and equalize and contrast enlarge that.
    assert_near(batches(*jpeg_sets, device="cpu"), batches(*jpeg_sets), mean=3, at_99_percent=24)


def test_padding_and_erased_patches_are_zero_in_the_same_places(png_sets: tuple[Dataset, Dataset]) -> None:
    for here, there in zip(batches(*png_sets, device="cpu"), batches(*png_sets), strict=True):
        for name, view in views(there).items():
            zero_here = (views(here)[name].images_BCHW == 0).all(dim=1)
            zero_there = (view.images_BCHW.cpu() == 0).all(dim=1)
            assert torch.equal(zero_here, zero_there), f"{name} of step {here.step}"


def test_no_pixels_of_views_cross_between_host_and_device(
    jpeg_sets: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    """Views are 50 times the size of their files' pixels here, so one that crossed would stand out.

    To the device go encoded bytes, or what a decoder makes of them (coefficients, 6 bytes a pixel at most), and the
    plan; back come single numbers of colour operations.
    """
    given = batches(*jpeg_sets, view=LARGE_VIEW, mix=LARGE_MIX, steps=4 * STEPS)
    next(given)  # a few more are made ahead, before the profiler looks
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        made = [{name: view.images_BCHW.shape for name, view in views(batch).items()} for batch in given]
        torch.cuda.synchronize()
    trace = tmp_path / "trace.json"
    profiler.export_chrome_trace(str(trace))
    copied = copied_bytes(trace)
    assert {"student", "mosaic"} <= made[-1].keys(), "the steps under the profiler mix"
    assert copied["HtoD"], "the profiler sees DALI's copies"
    one_view = 3 * LARGE_VIEW.short_range[0] ** 2
    assert max(copied["HtoD"]) < one_view / 4
    assert max(copied["HtoD"]) <= 5 * (6 * SOURCE**2 + 4096)
    assert max(copied["DtoH"], default=0) <= 4096


def copied_bytes(trace: Path) -> dict[str, list[int]]:
    """Return the bytes of each copy that CUPTI saw, by direction."""
    copied: dict[str, list[int]] = {"HtoD": [], "DtoH": []}
    for event in json.loads(trace.read_text())["traceEvents"]:
        if event.get("cat") == "gpu_memcpy":
            for direction, sizes in copied.items():
                if direction in event["name"]:
                    sizes.append(int(event["args"]["bytes"]))
    return copied


def test_a_step_on_another_stream_sees_the_same_bytes(png_sets: tuple[Dataset, Dataset]) -> None:
    expected = copies(batches(*png_sets, view=LARGE_VIEW, mix=LARGE_MIX))
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        found = copies(batches(*png_sets, view=LARGE_VIEW, mix=LARGE_MIX))
    _assert_same_bytes(expected, found)


def test_a_supervised_step_on_another_stream_sees_the_same_bytes(png_sets: tuple[Dataset, Dataset]) -> None:
    """Nothing is mixed here, so no mixing has waited for the view."""
    expected = copies(batches(png_sets[0], None, view=LARGE_VIEW))
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        found = copies(batches(png_sets[0], None, view=LARGE_VIEW))
    _assert_same_bytes(expected, found)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_another_device_holds_the_batches_and_gives_the_same_bytes(png_sets: tuple[Dataset, Dataset]) -> None:
    first, second = list(batches(*png_sets)), list(batches(*png_sets, device_id=1))
    for batch in second:
        assert all(view.images_BCHW.device == torch.device("cuda:1") for view in views(batch).values())
    _assert_same_bytes(copies(iter(first)), copies(iter(second)))


def _assert_same_bytes(expected: list[dict[str, torch.Tensor]], found: list[dict[str, torch.Tensor]]) -> None:
    assert len(expected) == len(found) == STEPS
    for one, other in zip(expected, found, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
